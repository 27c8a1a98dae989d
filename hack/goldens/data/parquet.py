"""Writes runtime/data/testdata/*.parquet, as dataset libraries write them: pip install pyarrow==26.0.1."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

out = pathlib.Path(__file__).parents[3] / "runtime/data/testdata"


def turn(role, content):
    return {"content": content, "role": role}


questions = ["What is 9 + 10?", "Wie heißt du?", "你好\n"]
chosen = [[turn("user", q), turn("assistant", f"answer {i}")] for i, q in enumerate(questions)]
rejected = [[turn("user", q), turn("assistant", "no")] for q in questions]

# UltraFeedback, binarized: snappy, two rows a group.
pq.write_table(
    pa.table({
        "prompt": questions, "prompt_id": ["a", "b", None], "chosen": chosen, "rejected": rejected,
        "messages": chosen, "score_chosen": [8.5, 7.0, None], "score_rejected": [1.0, 2.0, None],
    }),
    out / "ultrafeedback.parquet", compression="snappy", row_group_size=2,
)
# UltraChat: zstd, texts as a dictionary and as large strings.
pq.write_table(
    pa.table({"prompt": pa.array(questions).dictionary_encode(), "messages": pa.array(chosen), "prompt_id": pa.array(["x"] * 3, pa.large_string())}),
    out / "ultrachat.parquet", compression="zstd",
)
# Ranked responses: lists of texts and of numbers; a column that no format has.
pq.write_table(
    pa.table({"prompt": ["p"], "responses": [["a", "b", "c"]], "ranks": [[1, 2, 2]], "embedding": [[0.5] * 8]}),
    out / "ranked.parquet", compression="none",
)
pq.write_table(pa.table({"text": ["first", None, "third"]}), out / "null.parquet")
pq.write_table(pa.table({"text": pa.array([], pa.string())}), out / "empty.parquet")
