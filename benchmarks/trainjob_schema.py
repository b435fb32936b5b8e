"""Check examples/trainjob.yaml against the schemas of Kubeflow Trainer's own definitions (CRDs), strictly.

Run in an environment with PyYAML and jsonschema, from the repository's root, with a clone of kubeflow/trainer:
python benchmarks/trainjob_schema.py TRAINER/manifests/base/crds
"""

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml


def main() -> None:
    """Print each document's kind and what is wrong with it; end with 1 if anything is."""
    schemas = {}
    for path in Path(sys.argv[1]).glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())
        if definition.get("kind") != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for version in spec["versions"]:
            name = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
            schemas[name] = closed(version["schema"]["openAPIV3Schema"])
    is_wrong = False
    for document in yaml.safe_load_all(Path("examples/trainjob.yaml").read_text()):
        name = f"{document['apiVersion']} {document['kind']}"
        if name not in schemas:
            print(f"{name}: of Kubernetes itself")
            continue
        schemas[name]["properties"]["metadata"] = {"type": "object"}
        errors = list(jsonschema.Draft7Validator(schemas[name]).iter_errors(document))
        is_wrong |= bool(errors)
        print(f"{name}: {len(errors)} errors", *(f"  {list(e.path)}: {e.message}" for e in errors), sep="\n")
    sys.exit(is_wrong)


def closed(schema: Any) -> Any:  # noqa: ANN401 - a part of a schema
    """Refuse fields that a schema does not know, as Kubernetes drops them; numbers may be written as words."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    part = {key: closed(value) for key, value in schema.items()}
    if part.get("x-kubernetes-int-or-string"):
        part = {key: value for key, value in part.items() if key not in {"anyOf", "type"}}
    is_open = part.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in part
    if part.get("type") == "object" and "properties" in part and not is_open:
        part["additionalProperties"] = False
    return part


if __name__ == "__main__":
    main()
