"""Examples of every command, for its help and for the manual page. Each one is a line for a shell."""

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "serve": (
        "quartermaster serve",
        "quartermaster serve --inbox ~/.claude/projects --inbox ~/.codex/sessions",
        "quartermaster serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem",
    ),
    "demo": ("quartermaster demo",),
    "run": (
        "quartermaster run --task fix-login --variant main -- ./agent.sh",
        "quartermaster run --task fix-login --variant new-prompt --trial 2 -- claude -p 'fix the login'",
    ),
    "ingest": (
        "quartermaster ingest ~/.claude/projects",
        "quartermaster ingest run.jsonl results.json --format ndjson",
    ),
    "sources": ("quartermaster sources", "quartermaster sources --state unrecognised"),
    "watch": ("quartermaster watch add ~/.claude/projects",),
    "watch add": ("quartermaster watch add ~/.codex/sessions --workspace team",),
    "watch list": ("quartermaster watch list",),
    "watch remove": ("quartermaster watch remove ~/.codex/sessions",),
    "missions": (
        "quartermaster missions --since 2027-01-01T00:00:00Z --outcome failed",
        "quartermaster missions --task fix-login --format json",
    ),
    "show": ("quartermaster show latest", "quartermaster show demo-login-fix-candidate --format json"),
    "metrics": ("quartermaster metrics", "quartermaster metrics --format markdown"),
    "diff": (
        "quartermaster diff demo-login-fix-baseline demo-login-fix-candidate",
        "quartermaster diff expected latest --match in-order --arguments ignore",
    ),
    "similar": ("quartermaster similar latest --level tools",),
    "journal": (
        "quartermaster journal --mission latest --severity warn --severity error",
        "quartermaster journal verify",
    ),
    "journal verify": (
        "quartermaster journal verify",
        "quartermaster journal verify --against /media/backup/quartermaster.db",
    ),
    "export": (
        "quartermaster export --output missions.ndjson",
        "quartermaster export task=checkout,variant=v2 --format csv --table steps --output steps.csv",
    ),
    "batch": (
        "quartermaster batch runs old.tar.gz --out tables --jobs 4",
        "quartermaster batch s3://bucket/runs --out tables --engine dask://scheduler:8786",
    ),
    "eval": ("quartermaster eval regression BASELINE CANDIDATE --wait",),
    "eval replay": ("quartermaster eval replay latest --seed 7 --wait",),
    "eval regression": (
        "quartermaster eval regression demo-login-fix-baseline demo-login-fix-candidate --wait",
        "quartermaster eval regression BASELINE CANDIDATE --wait --strict --format json",
    ),
    "eval runs": ("quartermaster eval runs --limit 20",),
    "eval get": ("quartermaster eval get latest", "quartermaster eval get er_0123456789abcdef --format json"),
    "compare": (
        "quartermaster compare recordings/baseline recordings/candidate",
        "quartermaster compare main.qmb recordings --policy policy.toml --report markdown=report.md",
        "quartermaster compare task=checkout,variant=v1 task=checkout,variant=v2 --fail-on regressed",
    ),
    "plan": ("quartermaster plan", "quartermaster plan variant=v2 --tasks 50"),
    "watch-batch": ("quartermaster watch-batch variant=v1 variant=v2 --every 30",),
    "gate": ("quartermaster gate tune",),
    "gate tune": ("quartermaster gate tune", "quartermaster gate tune --resamples 500 --write policy.toml"),
    "selftest": ("quartermaster selftest loops", "quartermaster selftest stats --full --workers 4"),
    "baseline": ("quartermaster baseline freeze main task=checkout,variant=v1",),
    "baseline freeze": (
        "quartermaster baseline freeze main variant=v1 --reason 'release 1'",
        "quartermaster baseline freeze main recordings --output main.qmb",
    ),
    "baseline accept": ("quartermaster baseline accept main variant=v2 --reason 'slower on purpose'",),
    "baseline list": ("quartermaster baseline list",),
    "baseline show": ("quartermaster baseline show main",),
    "baseline diff": ("quartermaster baseline diff main variant=v2 --strict",),
    "verify": ("quartermaster verify evidence.json",),
    "recompute": ("quartermaster recompute --dry-run",),
    "mcp": (
        "quartermaster mcp",
        "quartermaster mcp --http --port 7118",
        "quartermaster mcp --url http://127.0.0.1:7117",
    ),
    "schema": ("quartermaster schema report > report.schema.json", "quartermaster schema policy"),
    "trend": (
        "quartermaster trend",
        "quartermaster trend --metric success_rate --task fix-login --by commit --points",
    ),
    "alert": ("quartermaster alert dry-run --since 2027-01-01T00:00:00Z",),
    "alert add": (
        "quartermaster alert add worse --on regression --grade outside-noise --url https://example.com/hook",
        "quartermaster alert add failures --on failure_mode --severity high -- /usr/local/bin/page-us",
    ),
    "alert list": ("quartermaster alert list",),
    "alert remove": ("quartermaster alert remove worse",),
    "alert test": ("quartermaster alert test worse",),
    "alert retry": ("quartermaster alert retry worse",),
    "alert deliveries": ("quartermaster alert deliveries --state dead",),
    "alert dry-run": ("quartermaster alert dry-run worse --since 2027-01-01T00:00:00Z",),
    "workspace": ("quartermaster workspace create team",),
    "workspace create": ("quartermaster workspace create team --name 'The team'",),
    "workspace list": ("quartermaster workspace list",),
    "workspace export": ("quartermaster workspace export team.zst --workspace team",),
    "workspace import": ("quartermaster workspace import team.zst --workspace team",),
    "member": ("quartermaster member add ann --role MEMBER",),
    "member add": ("quartermaster member add ann --role ADMIN --workspace team",),
    "member remove": ("quartermaster member remove ann --workspace team",),
    "member list": ("quartermaster member list",),
    "token": ("quartermaster token create --user ann",),
    "token create": ("quartermaster token create --user ann --expires 90d",),
    "token list": ("quartermaster token list",),
    "token rotate": ("quartermaster token rotate 0123456789ab --overlap 24h",),
    "token revoke": ("quartermaster token revoke 0123456789ab",),
    "retention": ("quartermaster retention run --dry-run",),
    "retention show": ("quartermaster retention show",),
    "retention set": ("quartermaster retention set --days 90 --missions 10000",),
    "retention run": ("quartermaster retention run --dry-run",),
    "retention keep": ("quartermaster retention keep latest --reason 'the incident of May'",),
    "retention release": ("quartermaster retention release latest --reason 'the incident of May'",),
    "backup": (
        "quartermaster backup /media/backup/quartermaster.db",
        "quartermaster backup verify /media/backup/quartermaster.db",
    ),
    "backup verify": ("quartermaster backup verify /media/backup/quartermaster.db",),
    "restore": ("quartermaster restore /media/backup/quartermaster.db",),
    "service": ("quartermaster service install --user",),
    "service install": ("quartermaster service install --user --home ~/quartermaster",),
    "service status": ("quartermaster service status --user",),
    "service uninstall": ("quartermaster service uninstall --user",),
    "doctor": ("quartermaster doctor", "quartermaster doctor --format json"),
    "help": ("quartermaster help", "quartermaster help ci", "quartermaster help eval replay"),
    "completion": (
        'eval "$(quartermaster completion bash)"',
        "quartermaster completion fish | source",
    ),
}
"""By the words of the command; a test parses each line with the command that it belongs to."""


def epilog(name: str) -> str:
    """The examples of a command as the end of its help, each line kept as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in EXAMPLES.get(name, ()))
