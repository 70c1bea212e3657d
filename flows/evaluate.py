"""`evaluate`: tables and pictures of a finished study, from its stored predictions alone; seconds, and nothing is trained."""

from prefect import flow, get_run_logger

from flows.address import worker_root
from flows.artifacts import picture, show_markdown, show_table
from flows.studies import Evaluated, asked_results, evaluate_study


@flow(name="evaluate", flow_run_name="evaluate-{study}")
def evaluate(study: str) -> str:
    """Make the tables and pictures of a study anew; returns its folder.

    Args:
        study: File or folder of the study in the data root, or the name of one that was begun.
    """
    made = evaluate_study(asked_results(worker_root(), study))
    show_evaluation(made)
    return str(made.folder)


def show_evaluation(made: Evaluated) -> None:
    """Store what an evaluation came to as artifacts of the current run."""
    title = made.config.title or made.config.name
    show_table("evaluate", made.rows(), description=made.config.name)
    for table in made.tables:
        show_markdown(table.name, title, table.to_markdown(), simulated=made.simulated, description=table.title)
    pictures = [f"## {name}\n\n{picture(path, name)}" for name, path in made.figures.items()]
    show_markdown("figures", title, *pictures, simulated=made.simulated, description=f"Figures of {made.config.name}")
    get_run_logger().info("%s", made.report)
