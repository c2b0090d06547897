"""GRUForecaster and what it is made of."""
