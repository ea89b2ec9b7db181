"""HTTP: the JSON routes, who may call them, and the client of the commands."""
