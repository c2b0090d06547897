"""Models at work: what runs a fitted one outside a notebook."""
