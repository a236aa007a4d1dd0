"""The report: what the three builds of the hub make of the same load, as one page that people like to look at.

    python -m loadtest.twin.report        # or: make compare

It reads like this: ``comparison`` runs the twin and puts every number into one JSON document; ``pictures`` draws it;
``page`` writes the HTML, whose numbers can come from nowhere but that document.
"""
