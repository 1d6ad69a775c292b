"""Orders: priced by the server, placed once, settled by the stock's answer."""
