"""Children's test scores and what is known of their mothers."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

from probgen.data.files import SOURCES, read

if TYPE_CHECKING:
    import pandas as pd

NAME = "posteriordb/kidiq-kidscore_interaction"


def kidiq() -> pd.DataFrame:
    """Return the test scores of 434 children of three or four years, from the National Longitudinal Survey.

    Columns: ``score``, of the child's cognitive test; ``iq``, the mother's; ``finished``, 1 where the mother
    finished high school, else 0.

    See Gelman and Hill (2006), Data Analysis Using Regression and Multilevel/Hierarchical Models, ch. 3;
    Magnusson et al. (2024), posteriordb.
    """
    import pandas as pd

    (file,) = SOURCES[NAME].files
    with zipfile.ZipFile(io.BytesIO(read(NAME, file))) as archive:
        values = json.loads(archive.read("kidiq.json"))
    columns = {"score": "kid_score", "iq": "mom_iq", "finished": "mom_hs"}
    return pd.DataFrame({ours: values[theirs] for ours, theirs in columns.items()}, dtype=float)
