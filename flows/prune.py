"""`prune`: remove derived data by the policy in retention.toml; does nothing where there is none."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from flows.address import worker_root
from flows.pruning import remove
from flows.retention import plan
from pipeline.settings import read_retention


@flow(name="prune")
def prune(dry_run: bool = False) -> int:
    """Remove derived data that the policy lets go, the longest unused first; returns how many bytes.

    Recordings and labels are never touched. Everything that goes can be made again; a night does not do that by itself.

    Args:
        dry_run: Only say what would go.
    """
    logger = get_run_logger()
    root = worker_root()
    policy = read_retention(root)
    if not policy.active:
        logger.info("retention.toml says neither keep_days nor free_gb, so nothing was looked at and nothing removed.")
        return 0
    planned = plan(root, policy)
    gone, busy = (planned.going, ()) if dry_run else remove(planned)
    done = "would go" if dry_run else "went"
    rows = [
        {"kind": one.kind, "name": one.name, "MB": round(one.bytes / 1e6, 1),
         "days unused": round(one.unused_days(planned.now_s), 1), "what became of it": done}
        for one in gone
    ] + [{"kind": kind, "name": name, "MB": "-", "days unused": "-", "what became of it": f"stays: {why}"}
         for kind, name, why in (*planned.kept, *busy)]  # fmt: skip
    total = sum(one.bytes for one in gone)
    summary = (
        f"{len(gone)} of {len(rows)} {done}: {total / 1e6:.1f} MB; {planned.free_bytes / 1e9:.1f} GB were free before."
    )
    create_table_artifact(key="prune", table=rows, description=summary)
    logger.info(summary)
    return total
