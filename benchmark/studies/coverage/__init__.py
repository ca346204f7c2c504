"""Simulated coverage of intervals and levels of marks: ``python -m calbench.benchmark.studies.coverage``.

Test sets of known truth are generated, evaluated and compared by the code that makes the tables. How often an interval
covers the population value, and how often a mark appears where there is no difference, is written as tables and a
figure. Goals: coverage of 90 to 99 %, and a level of each mark of at most 7 %.
"""
