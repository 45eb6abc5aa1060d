"""Say whether the Prometheus operator knows every field of the custom resources in a file, and takes every value.

Its types, which are generated from the operator's own schemas, come with a package that `deploy_check.sh` fetches.
"""

import sys
from pathlib import Path

import yaml
from cloudcoil.models.prometheus_operator import v1


def has_unknown(resource: dict[str, object]) -> bool:
    """Whether something of *resource* is lost on the way through its type. Raises ValueError for a wrong value."""
    kind = getattr(v1, str(resource["kind"]))
    return bool(kind.model_validate(resource).model_dump(by_alias=True, exclude_unset=True, mode="json") != resource)


if __name__ == "__main__":
    resources = list(yaml.safe_load_all(Path(sys.argv[1]).read_text()))
    wrong = [str(one["kind"]) for one in resources if has_unknown(one)]
    sys.exit(f"a field is not known: {', '.join(wrong)}" if wrong else 0)
