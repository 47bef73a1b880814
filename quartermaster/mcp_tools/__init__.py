"""What an agent may ask over the Model Context Protocol: tools, each a function of records and a question.

    records → judging → explaining → {missions, verdicts, lists}, which enter themselves into tools.TOOLS

`server` speaks the protocol, and is the only one that knows its SDK.
"""
