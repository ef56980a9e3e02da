"""Fault rules: which messages a proxy does not pass on as they came, and what it does to them.

`rule` reads a rule, `actions` what it may ask for, `possible` tells which messages a filter can match at all,
`deciding` decides about the messages of a run, `changing` makes others of them. It must not know sockets: what is to be
done is told as a `vusniff.sources.proxy.plan.FaultPlan`. Start reading in `rule`.
"""
