"""What MLflow's page of an experiment opens with: its columns, their order, and the charts of FID over images.

MLflow keeps such a view in a tag of the experiment, and applies it where the address names the view. The format is that
of MLflow's own button "Save as new view".
"""

from __future__ import annotations

import json
import time
from typing import Any

KEY = "ablate"  # of the view, in the tag and in the address
TAG = f"mlflow.sharedViewState.{KEY}"
NAME = "FID by row"
# without it, MLflow shows its pages for language models, which are empty
MENU = "workflowType=machine_learning"
FIDS = ("fid_1step", "fid_2step")
OVER_SEEDS = " over seeds"  # the tag of a row's mean: `fid_1step over seeds`
COLUMNS = {  # and their widths in pixels
    "tags.`row`": 130,
    "tags.`seed`": 55,
    **{f"metrics.`{fid}`": 95 for fid in FIDS},
    **{f"tags.`{fid}{OVER_SEEDS}`": 165 for fid in FIDS},
    "attributes.`Dataset`": 170,
}
FIRST = {"attributes.`Run Name`": 130, "runDateAndNestInfo": 110}  # MLflow shows these always
CELLS = "tags.seed LIKE '%'"  # without the experiment's own run, whose means would be a chart for each row
FOLDED = ("Model metrics", "System metrics")  # MLflow adds a chart of every other metric to these


def address(pages: str, experiment: str, saved: bool = True) -> str:
    """The address of an experiment's runs on MLflow's pages, with this view if it is saved there."""
    named = f"&viewStateShareKey={KEY}" if saved else ""
    return f"{pages}/#/experiments/{experiment}/runs?{MENU}{named}"


def saved() -> str:
    """The view, as the text of MLflow's tag; a sorted list is flat, so no run is hidden under another."""
    columns = [*COLUMNS]
    state = {
        "searchFilter": CELLS,
        "orderByKey": f"metrics.`{FIDS[0]}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {**FIRST, **COLUMNS},
        "compareRunCharts": [_chart(fid) for fid in FIDS],
        "compareRunSections": [_section("FID over images"), *(_section(name, False) for name in FOLDED)],
    }
    made = int(time.time() * 1000)
    return json.dumps({"name": NAME, "createdAt": made, "updatedAt": made, "state": json.dumps(state)})


def _section(name: str, display: bool = True) -> dict[str, Any]:
    return {
        "uuid": f"{KEY} {name}",
        "name": name,
        "display": display,
        "isReordered": False,
        "deleted": False,
    } | {"isGenerated": not display}


def _chart(metric: str) -> dict[str, Any]:
    return {
        "uuid": f"{KEY} {metric}",
        "type": "LINE",
        "metricKey": metric,
        "metricSectionId": f"{KEY} FID over images",
        "isGenerated": False,
        "deleted": False,
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
