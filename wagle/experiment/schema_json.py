"""The JSON schema of a config's models, for editors, for docs/config.md and for error messages."""

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema) -> bool:
        return False

    def dict_schema(self, schema) -> dict:
        json_schema = super().dict_schema(schema)
        # patternProperties alone would let other names pass.
        for values in json_schema.pop("patternProperties", {}).values():
            json_schema["propertyNames"] = self.generate_inner(schema["keys_schema"])
            json_schema["additionalProperties"] = values
        return json_schema


def json_schema(model: type[BaseModel]) -> dict:
    """The JSON schema (draft 2020-12) of a pydantic model."""
    schema = model.model_json_schema(schema_generator=_Untitled)
    return {"$schema": _Untitled.schema_dialect} | schema
