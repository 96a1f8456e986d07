"""The creator service hands heavy analyses to workers on other machines, and loses none of them."""
