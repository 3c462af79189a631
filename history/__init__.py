"""What needs the functions of streams on the rows of the lake: recompute, backtest, rule tests."""
