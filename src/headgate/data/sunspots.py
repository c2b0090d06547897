"""The one data file that the package carries: yearly sunspot numbers, 1700 to 2008.

Source: Solar Influences Data Analysis Center (SIDC), Royal Observatory of Belgium, through the
National Geophysical Data Center of NOAA, as distributed with statsmodels (``sunspots``), which
states that the figures are in the public domain. They are the yearly means of the international
sunspot number as it was counted before the revision of 2015. ``sunspots_yearly.csv``, beside
this file, has the columns ``year`` and ``sunspots`` and 309 rows.
"""

from __future__ import annotations

from pathlib import Path

SUNSPOTS = Path(__file__).with_name("sunspots_yearly.csv")
