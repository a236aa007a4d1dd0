"""The twin: both variants of the hub in virtual time.

    from loadtest.twin.model import simulate
    from loadtest.twin.scenario import Scenario

    result = simulate(Scenario(variant="no-flow-control", profile=profiles.load("published"), seed=1))
    result.peak_concurrency        # a figure, see result.Result
    result.series.concurrency      # a list with one value for every 10 s, see result.Series
    result.to_json()               # the same bytes for the same scenario

`simulate` is pure: no clock, no file but template.yaml, no global random. Its numbers come from the translated
template (``settings``) and from a table of what AWS is known to do (``constants``); its policies are the layer's own
code, driven by the virtual clock.
"""
