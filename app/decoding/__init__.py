"""Where films are decoded: in threads, or each in a process of its own that its decoder may crash, fill or hang.

    bytes -> Decoders -> threads (PNG, JPEG, uncompressed DICOM)                       -> DecodedImage -> tensor
                      -> Nursery -> zygote -> fork -> one film decoded (compressed DICOM) ^

``memory`` is how films go in and pixels come out. ``zygote`` and ``memory`` are all that a decoding process runs beside
``app.pipeline.decode``; nothing is imported here, so that it needs no torch.
"""
