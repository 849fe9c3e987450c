"""The host configuration: what a good one means, and that a bad one is told everything at once."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gitopsd.config.glance import glance
from gitopsd.config.host import ClusterConfig, SourceConfig, load_host_config
from gitopsd.config.paths import DEFAULT_CONFIG, DEFAULTS, Paths, find_config, quick_paths
from gitopsd.config.terraform import TerraformConfig
from gitopsd.model.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[3] / "config" / "gitopsd.yaml"
MINIMAL = "instance: here\nsources: [{name: main, url: /srv/infra.git}]\nclusters: [{}]\n"


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return file


def faults(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_host_config(file)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_the_example_loads() -> None:
    config = load_host_config(EXAMPLE)
    assert (config.instance, config.state_dir) == ("prod", Path("/var/lib/gitopsd"))
    assert config.sources[0].token_file == EXAMPLE.parent / "git-token"
    assert config.clusters == (ClusterConfig("default", Path("/etc/gitopsd/kubeconfig"), "prod"),)
    assert config.socket_group == "gitopsd"
    assert config.terraform == TerraformConfig(
        cluster="default",
        env={"AWS_REGION": "eu-central-1"},
        env_files=(EXAMPLE.parent / "cloud.env",),
        cli_config=EXAMPLE.parent / "terraformrc",
    )


def test_the_lines_that_the_example_offers_are_valid_too(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    for line in ("auth: {username:", "auth: {sshKeyFile:"):
        chosen = text.replace("    auth: {tokenFile: git-token}\n", "").replace(f"    # {line}", f"    {line}")
        if "sshKey" in line:
            chosen = chosen.replace("https://git.example/team", "git@git.example:team")
        assert load_host_config(write(tmp_path, chosen)).sources
    start, end = text.index("\nclusters:"), text.index("\n# How components with terraform")
    in_cluster = text[:start] + "\nclusters:\n  - {name: default, inCluster: true}\n" + text[end:]
    assert load_host_config(write(tmp_path, in_cluster)).clusters[0].in_cluster


def test_everything_has_a_default_but_sources_and_clusters(tmp_path: Path) -> None:
    config = load_host_config(write(tmp_path, MINIMAL))
    assert config.sources == (SourceConfig("main", "/srv/infra.git"),)
    assert config.clusters == (ClusterConfig("default"),)
    assert (config.state_dir, config.key_dir) == (Path("/var/lib/gitopsd"), Path("/etc/gitopsd/keys"))
    assert (config.socket, config.runtime_dir) == (Path("/run/gitopsd/gitopsd.sock"), Path("/run/gitopsd"))
    assert (config.terraform, config.socket_group) == (TerraformConfig(cluster="default"), "")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
instance: here
stateDir: state
keyDir: ../keys
socket: run/gitopsd.sock
sources:
  - {name: local, url: repositories/infra.git, path: ./k8s/}
  - name: ssh
    url: git@git.example:team/infra.git
    auth: {sshKeyFile: id, knownHostsFile: /etc/ssh/known_hosts}
clusters: [{kubeconfig: kubeconfig}]
"""
    (tmp_path / "etc").mkdir()
    file = write(tmp_path / "etc", text)
    monkeypatch.chdir(tmp_path)
    config = load_host_config(Path("etc/config.yaml"))
    assert config.file == file
    assert config.state_dir == tmp_path / "etc" / "state"
    assert config.key_dir == tmp_path / "etc" / ".." / "keys"
    assert config.runtime_dir == tmp_path / "etc" / "run"
    local, ssh = config.sources
    assert (local.url, local.path) == (str(tmp_path / "etc" / "repositories" / "infra.git"), "k8s")
    assert ssh.url == "git@git.example:team/infra.git"
    assert (ssh.ssh_key_file, ssh.known_hosts_file) == (tmp_path / "etc" / "id", Path("/etc/ssh/known_hosts"))
    assert config.clusters[0].kubeconfig == tmp_path / "etc" / "kubeconfig"


@pytest.mark.parametrize(
    ("links", "key_dir"),
    [
        ({"link": "state/keys"}, "link"),
        ({"link": "state"}, "link/keys"),
        ({"link": "state"}, "link"),
        ({"var": "."}, "var/state/keys"),
        ({"state/keys": "elsewhere"}, "state/keys"),
        ({"run": "state"}, "run/keys"),
    ],
)
def test_keys_do_not_get_beside_the_state_by_a_symlink(tmp_path: Path, links: dict[str, str], key_dir: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    said = faults(write(tmp_path, f"{MINIMAL}stateDir: state\nsocket: s/g.sock\nkeyDir: {key_dir}\n"))
    assert ["keyDir: may not be inside of stateDir" in line for line in said] == [True]


def test_keys_behind_a_symlink_may_be_anywhere_else(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    (tmp_path / "keys").symlink_to(tmp_path / "mounted")
    config = load_host_config(write(tmp_path, f"{MINIMAL}stateDir: state\nsocket: s/g.sock\nkeyDir: keys\n"))
    assert config.key_dir == tmp_path / "keys"


def test_the_instance_is_the_host_name_if_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, MINIMAL.replace("instance: here\n", ""))
    monkeypatch.setattr(socket, "gethostname", lambda: "Node-7.example.org")
    assert load_host_config(file).instance == "node-7"
    monkeypatch.setattr(socket, "gethostname", lambda: "my_host")
    assert faults(file) == [
        " the host's name cannot name this instance (set instance: to a DNS label)",
    ]


BAD = """
instance: My_Host
statDir: /x
listen: 127.0.0.1:8480
webhookListen: nonsense
sources:
  - name: main
    url: https://u:p@h/x.git
    branch: 1.10
    poll: 60
    forcePush: maybe
    auth: {tokenFile: x, username: y}
    webhook: {provider: github, secretFile: s}
    verify: {gpgKey: x}
  - name: main
    url: ftp://x/y
    auth: {sshKeyFile: x, knownHostFile: s}
    polly: 1
  - {}
  - {name: k, url: ./x, auth: {tokenFile: x}}
  - {name: l, url: ./x, path: ../x}
clusters:
  - {kubeconfig: x, inCluster: true}
  - {name: default, inCluster: "yes"}
terraform: {binary: x, timeout: 30m, user: tf}
socketGroup: 1000
policy: {kinds: {deny: [ClusterRoleBinding]}}
"""


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    assert faults(write(tmp_path, BAD)) == [
        "2: instance: expected a DNS label: at most 63 lower-case letters, digits and hyphens, as in my-name",
        "3: statDir: unknown key (did you mean stateDir?)",
        "4: listen: not supported yet",
        "5: webhookListen: expected HOST:PORT, as in 127.0.0.1:8480",
        "8: sources[0].url: a URL may not carry a credential; use auth with a file",
        "9: sources[0].branch: expected text, found a number (put it in quotes)",
        "10: sources[0].poll: expected a duration with its unit, as in 60s, 5m or 1h30m",
        "11: sources[0].forcePush: expected hold or allow",
        "12: sources[0].auth.username: expected text, found true or false (put it in quotes)",
        "13: sources[0].webhook: not supported yet",
        "14: sources[0].verify.gpgKey: unknown key (did you mean gpgKeyring?)",
        "15: sources[1].name: the name 'main' is already taken on line 7",
        "16: sources[1].url: gitopsd does not speak ftp; use https, http, ssh or a path",
        "17: sources[1].auth.knownHostFile: unknown key (did you mean knownHostsFile?)",
        "18: sources[1].polly: unknown key (did you mean poll?)",
        "19: sources[2].name: this key is missing",
        "19: sources[2].url: this key is missing",
        "20: sources[3]: auth: a token or password needs an http or https URL",
        "21: sources[4].path: this path leaves the repository",
        "23: clusters[0]: inCluster needs neither kubeconfig nor context",
        "24: clusters[1].inCluster: expected true or false, found text",
        "24: clusters[1].name: the name 'default' is already taken on line 23",
        "25: terraform.user: not supported yet",
        "26: socketGroup: expected text, found a number (put it in quotes)",
        "27: policy: not supported yet",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the configuration has to be one mapping of keys"),
        ("- a\n", "the configuration has to be one mapping of keys"),
        ("a: 1\n---\nb: 1\n", "the configuration has to be one mapping of keys"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, text: str, expected: str) -> None:
    assert faults(write(tmp_path, text)) == [f" {expected}"]


def test_a_duplicate_key_and_a_missing_file_are_configuration_errors(tmp_path: Path) -> None:
    assert faults(write(tmp_path, MINIMAL + "instance: there\n")) == ["4: instance: this key is already set on line 1"]
    (fault,) = faults(tmp_path / "none.yaml")
    assert "No such file" in fault
    assert "--config" in fault


@pytest.mark.parametrize(
    ("login", "url", "wrong"),
    [
        ("{tokenFile: t, sshKeyFile: k}", "https://h/r", "several ways to log in"),
        ("{username: u}", "https://h/r", "need each other"),
        ("{sshKeyFile: k}", "ssh://git@h/r", "need each other"),
        ("{sshKeyFile: k, knownHostsFile: h}", "https://h/r", "needs an ssh URL"),
        ("{tokenFile: t}", "git@h:r.git", "needs an http or https URL"),
    ],
)
def test_a_login_that_cannot_work_is_refused(tmp_path: Path, login: str, url: str, wrong: str) -> None:
    text = f"instance: here\nsources: [{{name: m, url: '{url}', auth: {login}}}]\nclusters: [{{}}]\n"
    (fault,) = faults(write(tmp_path, text))
    assert wrong in fault


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5)])
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    file = write(tmp_path, MINIMAL.replace("url:", f"poll: {text}, url:"))
    assert load_host_config(file).sources[0].poll == seconds


@pytest.mark.parametrize("text", ["60", "5 m", "m", "-5m", "1m1h", "0s", "''", "1d"])
def test_what_is_no_duration_is_refused(tmp_path: Path, text: str) -> None:
    (fault,) = faults(write(tmp_path, MINIMAL.replace("url:", f"poll: {text}, url:")))
    assert "sources[0].poll" in fault


@pytest.mark.parametrize("branch", ["-x", "a b", "a..b", "@{x}", "'a:b'", "x.lock", "a//b", "a/"])
def test_what_cannot_be_a_branch_is_refused(tmp_path: Path, branch: str) -> None:
    (fault,) = faults(write(tmp_path, MINIMAL.replace("url:", f"branch: '{branch.strip(chr(39))}', url:")))
    assert "sources[0].branch" in fault


def test_the_configuration_is_found_where_the_command_line_or_the_environment_says() -> None:
    assert find_config("a.yaml", {"GITOPSD_CONFIG": "b.yaml"}) == Path("a.yaml")
    assert find_config(None, {"GITOPSD_CONFIG": "b.yaml"}) == Path("b.yaml")
    assert find_config(None, {}) == Path(DEFAULT_CONFIG)


@pytest.mark.parametrize("extra", ["", "stateDir: s\n", "socket: run/x.sock\n", "stateDir: /a\nsocket: /b/c\n"])
def test_quick_paths_agree_with_the_whole_configuration(tmp_path: Path, extra: str) -> None:
    file = write(tmp_path, MINIMAL + extra)
    config = load_host_config(file)
    assert quick_paths(file) == Paths(config.state_dir, config.socket)


def test_one_line_of_terraform_settings_does_not_slow_a_quick_look_down() -> None:
    text = "stateDir: /s\nsources:\n  - {name: main, url: /x}\nterraform: {binary: tofu, env: {A: b}, envFiles: [c]}\n"
    assert glance(text.encode(), DEFAULTS) == {"stateDir": "/s", "socket": DEFAULTS["socket"]}


def test_quick_paths_refuse_what_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="stateDir: expected a path"):
        quick_paths(write(tmp_path, MINIMAL + "stateDir: [a]\n"))


def test_quick_paths_load_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from gitopsd.config.paths import quick_paths; "
        f"quick_paths(pathlib.Path({str(write(tmp_path, MINIMAL))!r})); "
        "print([m for m in ('pydantic', 'kubernetes', 'git', 'structlog') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


# ---------------------------------------------------------------- terraform

TWO_CLUSTERS = MINIMAL.replace("[{}]", "[{name: a}, {name: b}]")


def test_every_key_of_terraform_reaches_the_configuration(tmp_path: Path) -> None:
    text = """terraform:
  binary: bin/tofu
  backend: kubernetes
  cluster: b
  parallelism: 3
  timeout: 1h
  lockTimeout: 90s
  driftInterval: 2h
  env: {AWS_REGION: x, TF_LOG: "", TF_VAR_size: "3"}
  envFiles: [a.env, /etc/b.env]
  cliConfig: rc
"""
    assert load_host_config(write(tmp_path, TWO_CLUSTERS + text)).terraform == TerraformConfig(
        binary=str(tmp_path / "bin" / "tofu"),
        cluster="b",
        parallelism=3,
        timeout=3600.0,
        lock_timeout=90.0,
        drift_interval=7200.0,
        env={"AWS_REGION": "x", "TF_LOG": "", "TF_VAR_size": "3"},
        env_files=(tmp_path / "a.env", Path("/etc/b.env")),
        cli_config=tmp_path / "rc",
    )


@pytest.mark.parametrize(
    ("clusters", "section", "cluster"),
    [
        ("[{}]", "{}", "default"),
        ("[{name: only}]", "{}", "only"),
        ("[{name: a}, {}]", "{}", "default"),
        ("[{name: a}, {}]", "{cluster: a}", "a"),
        ("[{name: a}, {name: b}]", "{backend: local}", ""),
    ],
)
def test_the_cluster_of_the_states_is_the_named_the_only_or_the_default_one(
    tmp_path: Path, clusters: str, section: str, cluster: str
) -> None:
    text = MINIMAL.replace("[{}]", clusters) + f"terraform: {section}\n"
    assert load_host_config(write(tmp_path, text)).terraform.cluster == cluster


def test_a_host_without_the_section_need_not_say_which_cluster_holds_states(tmp_path: Path) -> None:
    assert load_host_config(write(tmp_path, TWO_CLUSTERS)).terraform == TerraformConfig(cluster="")


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ("{}", "terraform: which cluster holds Terraform's states? (name one with cluster: a, b)"),
        ("{cluster: aa}", "terraform.cluster: this host knows no cluster 'aa' (did you mean a?)"),
        ("{cluster: a, backend: local}", "terraform.cluster: with backend: local no cluster holds states (remove it)"),
        ("{cluster: a, backend: s3}", "terraform.backend: expected kubernetes or local"),
        ("{cluster: a, binary: ''}", "terraform.binary: expected the name or the path of a program"),
        ("{cluster: a, binary: -x}", "terraform.binary: expected the name or the path of a program"),
        ("{cluster: a, parallelism: 0}", "terraform.parallelism: has to be at least 1"),
        ("{cluster: a, timeout: 30}", "terraform.timeout: expected a duration"),
        ("{cluster: a, lockTimeout: 60}", "terraform.lockTimeout: expected a duration"),
        ("{cluster: a, lockTimeout: 30m}", "terraform.lockTimeout: has to be shorter than `timeout`"),
        ("{cluster: a, env: {A: 1}}", "terraform.env.A: expected text, found a number (put it in quotes)"),
        ("{cluster: a, env: {'A-B': x}}", "terraform.env.A-B: expected the name of an environment variable"),
        ("{cluster: a, env: {TF_WORKSPACE: x}}", "terraform.env.TF_WORKSPACE: gitopsd sets this itself"),
        ('{cluster: a, env: {A: "x\\0y"}}', "terraform.env.A: an environment variable cannot hold a NUL"),
        ("{cluster: a, user: tf}", "terraform.user: not supported yet"),
        ("{cluster: a, envFile: x}", "terraform.envFile: unknown key (did you mean envFiles?)"),
    ],
)
def test_what_terraform_cannot_be_run_with_is_refused(tmp_path: Path, section: str, wrong: str) -> None:
    (fault,) = faults(write(tmp_path, TWO_CLUSTERS + f"terraform: {section}\n"))
    assert fault.removeprefix("4: ").startswith(wrong)


@pytest.mark.parametrize(
    ("section", "seconds"),
    [("{}", 60.0), ("{timeout: 1h}", 60.0), ("{timeout: 20s}", 10.0), ("{lockTimeout: 0s}", 0.0)],
)
def test_an_apply_waits_for_a_lock_no_longer_than_it_may_take(tmp_path: Path, section: str, seconds: float) -> None:
    config = load_host_config(write(tmp_path, MINIMAL + f"terraform: {section}\n"))
    assert config.terraform.lock_timeout == seconds


def test_values_of_the_environment_are_in_no_representation(tmp_path: Path) -> None:
    config = load_host_config(write(tmp_path, MINIMAL + "terraform: {env: {TOKEN: hunter2}}\n"))
    assert config.terraform.env["TOKEN"] == "hunter2"
    assert "hunter2" not in repr(config)
