"""From files and frames to series, windows and the sample tables that training reads."""
