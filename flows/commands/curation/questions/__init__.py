"""What commands ask on a terminal before they do something that was not asked for in full."""
