"""Random JSON schemas of the kinds that people write; the same one for the same number."""

import random
from typing import Any


def random_schema(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    """Some value: scalars with bounds, enums, arrays, nested objects with optional members, choices."""
    kinds = ["string", "integer", "number", "boolean", "enum", "const", "pattern", "nullable"]
    kinds += [] if depth > 2 else ["object", "object", "array", "anyOf", "ref"]
    kind = dice.choice(kinds)
    match kind:
        case "string":
            return {"type": "string", "maxLength": dice.randint(3, 40)}
        case "integer":
            low = dice.randint(-50, 50)
            return {"type": "integer", "minimum": low, "maximum": low + dice.randint(0, 1000)}
        case "number":
            return {"type": "number", "minimum": 0, "maximum": dice.randint(1, 100)}
        case "boolean":
            return {"type": "boolean"}
        case "enum":
            return {"enum": dice.sample(["red", "grün", "蓝", 'a "b"', 1, 2.5, None, True], dice.randint(1, 4))}
        case "const":
            return {"const": dice.choice(["yes", 7, None, "👋🏽"])}
        case "pattern":
            return {"type": "string", "pattern": dice.choice(["^[a-z]{2,8}$", "^\\d{4}-\\d{2}$", "^(yes|no)!?$"])}
        case "nullable":
            return {"type": ["string", "null"], "maxLength": 10}
        case "array":
            return {
                "type": "array",
                "items": random_schema(dice, depth + 1),
                "minItems": dice.randint(0, 2),
                "maxItems": 3,
            }
        case "anyOf":
            return {"anyOf": [random_schema(dice, depth + 1), random_schema(dice, depth + 1)]}
        case "ref":
            return {"$ref": "#/$defs/point"}
    return random_object(dice, depth + 1)


def random_object(dice: random.Random, depth: int = 0) -> dict[str, Any]:
    """An object of which some members may be left out."""
    names = dice.sample(["name", "age", "città", "tags", "x-y", "名", "ok", "size"], dice.randint(1, 4))
    return {
        "type": "object",
        "properties": {name: random_schema(dice, depth) for name in names},
        "required": [name for name in names if dice.random() < 0.7],
        "additionalProperties": False,
    }


def schema_number(seed: int) -> dict[str, Any]:
    """The same schema for the same number."""
    point = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["x", "y"],
    }
    return random_object(random.Random(seed)) | {"$defs": {"point": point | {"additionalProperties": False}}}
