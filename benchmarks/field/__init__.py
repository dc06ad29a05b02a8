"""Films as hospitals send them: how many of each kind are judged, told what they are, or called adversarial.

Each film goes in as the bytes that are posted, through the service's own decoding, exposed field, network and gate. Parts:

    frames        borders, bars, collimation, shutters and padding around clean test films, and what they change
    painted       round and many-sided collimation that is in no header
    presentation  windows, LUTs and bit depths that do not belong to the pixels
    attacked      the paper's attacks in frames; attackers with a goal who may choose a frame as well
    others        laterals, other images and films: what the check of content says
    cost          of the stages, beside decoding, resizing and the network

It writes reports/field/field.json and the tables of docs/field.md. Parts that are in the report are kept until --only names
them. A quarter of an hour on two cores.
"""
