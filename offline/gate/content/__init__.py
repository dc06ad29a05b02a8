"""What the check of ``app.pipeline.content`` is learnt from, and how: it tells frontal chest films from all else.

``project``   a chest CT -> projections from all sides, and slices, kept in ``projections.npz``
``exposed``   projections -> films: field, exposure, film curve
``drawn``     pictures that are no film at all
``changed``   what may happen to any film: turned, cropped, bent, another tone, markers
``fitting``   the fit, its floors, its record
"""

from .fitting import ContentOptions, fit_content, load_content

__all__ = ["ContentOptions", "fit_content", "load_content"]
