"""The engines behind the ports, one sub-package each; the ports themselves and their rules live with their part."""
