"""Fit the check of ``app.pipeline.content``, which distinguishes frontal chest films from all other images.

``project``   a chest CT -> projections from all sides, and slices, stored in ``projections.npz``
``exposed``   projections -> films: field, exposure, film curve
``drawn``     drawn pictures that are no chest films
``changed``   random changes to films: turned, cropped, bent, another tone, markers
``fitting``   the fit, its floors, its record
"""

from .fitting import ContentOptions, fit_content, load_content

__all__ = ["ContentOptions", "fit_content", "load_content"]
