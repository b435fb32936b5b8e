"""transformers' adapter counts tokens as the loss does, goes on with all weights, and refuses the rest."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_trainings import WARNINGS, gpt, hash_of, padded, words
from torch import nn
from transformers import GPT2LMHeadModel, TrainingArguments, ViTConfig, ViTForImageClassification

import bigbatch
from bigbatch.errors import InputError
from bigbatch.integrations.transformers import ExactTrainer

pytestmark = pytest.mark.filterwarnings(*WARNINGS)


def trainer_of(folder, model=None, kind=ExactTrainer, data=None, **options):
    own = {name: options.pop(name) for name in ("reference", "warmup_epochs") if name in options}
    settings = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "use_cpu": True, "report_to": [], "seed": 0}
    settings |= {"logging_steps": 1, "save_strategy": "no", "disable_tqdm": True} | options
    arguments = TrainingArguments(str(folder), **settings)
    data = data or {"train_dataset": words(), "data_collator": padded}
    return kind(model or gpt(), arguments, **data, minibatch_size=12, **own)


def test_transformers_takes_the_steps_of_a_plain_loop_that_counts_tokens(tmp_path):
    """Its default optimizer, schedule, clipping and decay; of a model with dropout."""
    trainer = trainer_of(
        tmp_path, reference=6, warmup_epochs=1, optim="sgd", lr_scheduler_type="constant", learning_rate=0.1
    )
    trainer.train()
    assert trainer.counted == "all but the first"

    @bigbatch.objective
    def tokens(model, batch):
        labels = batch["labels"][:, 1:]
        logits = model(batch["input_ids"]).logits[:, :-1].float()
        total = nn.functional.cross_entropy(
            logits.reshape(-1, 20), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        return bigbatch.Loss(total, (labels != -100).sum())

    model = gpt().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with bigbatch.joined():
        minibatches = bigbatch.Minibatches(words(), minibatch_size=12, worker_minibatch_size=4, collate=padded)
        with bigbatch.Step(model, tokens, optimizer, minibatches) as step:
            for minibatch in minibatches.epochs(2):
                rate = 0.1 * (1 + min(1, step.iteration / 2))
                bigbatch.set_learning_rate(optimizer, rate)
                losses.append(float(step.backward(minibatch).loss))
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["loss"] for line in logged] == pytest.approx(losses, rel=1e-5)
    assert [line["learning_rate"] for line in logged] == pytest.approx([0.1, 0.15, 0.2, 0.2])
    pairs = zip(model.state_dict().values(), trainer.model.state_dict().values(), strict=True)
    worst = max(float((one - other).abs().max()) for one, other in pairs)
    assert worst < 1e-6  # the same numbers, by other kernels for the loss


def vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return ViTForImageClassification(ViTConfig(image_size=4, patch_size=2, num_channels=1, num_labels=3, **sizes))


def dots(n=24):
    generator = torch.Generator().manual_seed(0)
    return [{"pixel_values": torch.randn(1, 4, 4, generator=generator), "labels": i % 3} for i in range(n)]


def vit_trainer(folder, *, model=None, **options):
    data = {"train_dataset": dots(), "eval_dataset": dots(6), "data_collator": None}
    save = {"save_strategy": "steps", "save_steps": 1, "learning_rate": 0.1} | options
    return trainer_of(folder, model or vit(), data=data, **save)


def test_a_model_whose_file_has_other_names_than_it_goes_on_to_the_same_weights(tmp_path):
    """Trainer itself goes on with the weights of the start, and a warning."""
    whole = vit_trainer(tmp_path / "whole")
    whole.train()
    again = vit_trainer(tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert hash_of(again.model.state_dict()) == hash_of(whole.model.state_dict())
    best = vit_trainer(tmp_path / "best", load_best_model_at_end=True, eval_strategy="steps", eval_steps=1)
    best.train()
    number = best.state.best_model_checkpoint
    assert hash_of(best.model.state_dict()) == hash_of(ViTForImageClassification.from_pretrained(number).state_dict())


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    vit_trainer(tmp_path).train()
    path = tmp_path / "checkpoint-1" / "model.safetensors"
    weights = load_file(path)
    save_file({name: weight for name, weight in weights.items() if "classifier.weight" not in name}, path)
    with pytest.raises(InputError, match=r"checkpoint-1 has no classifier\.weight; go on with the model that wrote it"):
        vit_trainer(tmp_path).train(resume_from_checkpoint=str(path.parent))

    class OfMyOwn(ViTForImageClassification):
        def __init__(self, config, size):
            super().__init__(config)
            self.size = size

    trainer = vit_trainer(tmp_path, model=OfMyOwn(vit().config, 3))
    with pytest.raises(InputError, match=r"cannot be read by from_pretrained \(.*and \d+ more; go on with"):
        trainer.train(resume_from_checkpoint=str(path.parent))


class Mean(GPT2LMHeadModel):
    """Takes the number of items, and leaves it unused, as losses of regressions do."""

    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, **options):  # noqa: ARG002 - what is tested
        return super().forward(input_ids, labels=labels, **options)


class Odd(ExactTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # noqa: ARG002, FBT002
        return model(inputs["input_ids"]).logits.mean() + (2 if num_items_in_batch is None else 3)


def test_a_loss_that_ignores_the_number_of_items_is_a_mean_and_one_that_does_neither_is_refused(tmp_path):
    trainer = trainer_of(tmp_path, Mean(gpt().config), max_steps=1)
    trainer.train()
    assert trainer.counted == ""
    with pytest.raises(InputError, match="override compute_loss to divide a sum by num_items_in_batch"):
        trainer_of(tmp_path, kind=Odd, max_steps=1).train()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps"),
        ({"torch_compile": True}, "torch_compile"),
        ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen"),
    ],
)
def test_transformers_is_refused_what_cannot_be_exact(options, line, tmp_path):
    with pytest.raises(InputError, match=f"ExactTrainer does not take {line}"):
        trainer_of(tmp_path, **options)
