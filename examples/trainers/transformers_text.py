"""transformers' Trainer on lines of Python's help, at a minibatch of 64; the lines marked are bigbatch's.

torchrun --nproc-per-node 2 examples/trainers/transformers_text.py
"""

import argparse
from pydoc_data.topics import topics

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments, set_seed

from bigbatch.integrations.transformers import ExactTrainer as Trainer  # bigbatch

LONGEST = 64  # bytes


def lines():
    """Return lines of different lengths, as tokens: one a byte."""
    text = [
        line.encode("ascii", "replace")[:LONGEST] for line in topics["operator-summary"].splitlines() if line.strip()
    ]
    return [{"input_ids": torch.tensor(list(line))} for line in text * 4]


def collate(samples):
    tokens = [sample["input_ids"] for sample in samples]
    mask = pad_sequence([torch.ones_like(one) for one in tokens], batch_first=True)
    labels = pad_sequence(tokens, batch_first=True, padding_value=-100)
    return {"input_ids": pad_sequence(tokens, batch_first=True), "attention_mask": mask, "labels": labels}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--checkpoint", help="to go on from")
    parser.add_argument("--output", default="transformers_text")
    parsed = parser.parse_args()
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=256, n_positions=LONGEST, n_embd=32, n_layer=2, n_head=2))
    arguments = TrainingArguments(
        parsed.output,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        num_train_epochs=parsed.epochs,
        save_strategy="steps",
        save_steps=4,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    scaled = {"minibatch_size": 64, "reference": 16, "warmup_epochs": 1, "scaling": "square-root"}  # bigbatch
    data = {"train_dataset": lines(), "eval_dataset": lines()[:50], "data_collator": collate}
    trainer = Trainer(model, arguments, **data, **scaled)  # bigbatch
    trainer.train(resume_from_checkpoint=parsed.checkpoint)
    losses = {
        "loss": round(trainer.state.log_history[-2]["loss"], 4),
        "eval_loss": round(trainer.evaluate()["eval_loss"], 4),
    }
    trainer.save_model()
    if trainer.is_world_process_zero():
        print(losses)


if __name__ == "__main__":
    main()
