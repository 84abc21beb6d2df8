-- The schema as version 1 had it: databases of then are migrated from here.
CREATE TABLE meta (
    schema_version INTEGER NOT NULL,
    created_at     BIGINT  NOT NULL
);

CREATE TABLE symbols (
    symbol_id        INTEGER NOT NULL,
    venue            VARCHAR NOT NULL,
    symbol           VARCHAR NOT NULL,
    tick_size        DOUBLE  NOT NULL,
    tick_size_source VARCHAR NOT NULL,
    base_bin         DOUBLE  NOT NULL
);

CREATE TABLE ledger (
    file_id      INTEGER NOT NULL,
    symbol_id    INTEGER NOT NULL,
    kind         VARCHAR NOT NULL,

    period       BIGINT  NOT NULL,
    name         VARCHAR NOT NULL,
    sha256       VARCHAR NOT NULL,
    bytes        BIGINT  NOT NULL,
    rows         BIGINT  NOT NULL,
    stored_rows  BIGINT  NOT NULL,
    dropped_rows BIGINT  NOT NULL,
    first_id     BIGINT  NOT NULL,
    last_id      BIGINT  NOT NULL,
    ts_start     BIGINT  NOT NULL,
    ts_end       BIGINT  NOT NULL,
    notices      VARCHAR NOT NULL,
    ingested_at  BIGINT  NOT NULL
);

CREATE TABLE trade_ranges (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    first_id  BIGINT  NOT NULL,
    last_id   BIGINT  NOT NULL
);

CREATE TABLE flow (
    symbol_id     INTEGER  NOT NULL,
    file_id       INTEGER  NOT NULL,
    ts_event      BIGINT   NOT NULL,
    ts_init       BIGINT   NOT NULL,
    bin           INTEGER  NOT NULL,
    size_class    UTINYINT NOT NULL,
    buy_qty       DOUBLE   NOT NULL,
    sell_qty      DOUBLE   NOT NULL,
    buy_notional  DOUBLE   NOT NULL,
    sell_notional DOUBLE   NOT NULL,
    buy_count     INTEGER  NOT NULL,
    sell_count    INTEGER  NOT NULL
);

CREATE TABLE large_trades (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    ts_event  BIGINT  NOT NULL,
    ts_init   BIGINT  NOT NULL,
    trade_id  BIGINT  NOT NULL,
    price     DOUBLE  NOT NULL,
    qty       DOUBLE  NOT NULL,
    taker_buy BOOLEAN NOT NULL
);

CREATE TABLE open_interest (
    symbol_id           INTEGER NOT NULL,
    file_id             INTEGER NOT NULL,
    ts_event            BIGINT  NOT NULL,
    ts_init             BIGINT  NOT NULL,
    open_interest       DOUBLE  NOT NULL,
    open_interest_value DOUBLE  NOT NULL
);

CREATE TABLE mark_price (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    period    BIGINT  NOT NULL,
    ts_event  BIGINT  NOT NULL,
    ts_init   BIGINT  NOT NULL,
    open      DOUBLE  NOT NULL,
    high      DOUBLE  NOT NULL,
    low       DOUBLE  NOT NULL,
    close     DOUBLE  NOT NULL
);

CREATE TABLE klines (
    symbol_id        INTEGER NOT NULL,
    file_id          INTEGER NOT NULL,
    period           BIGINT  NOT NULL,
    ts_event         BIGINT  NOT NULL,
    ts_init          BIGINT  NOT NULL,
    open             DOUBLE  NOT NULL,
    high             DOUBLE  NOT NULL,
    low              DOUBLE  NOT NULL,
    close            DOUBLE  NOT NULL,
    volume           DOUBLE  NOT NULL,
    quote_volume     DOUBLE  NOT NULL,
    count            DOUBLE  NOT NULL,
    taker_buy_volume DOUBLE  NOT NULL
);

CREATE TABLE funding (
    symbol_id      INTEGER NOT NULL,
    file_id        INTEGER NOT NULL,
    ts_event       BIGINT  NOT NULL,
    ts_init        BIGINT  NOT NULL,
    rate           DOUBLE  NOT NULL,
    interval_hours DOUBLE  NOT NULL
);

CREATE TABLE liquidations (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    ts_event  BIGINT  NOT NULL,
    ts_init   BIGINT  NOT NULL,
    side      TINYINT NOT NULL,
    price     DOUBLE  NOT NULL,
    qty       DOUBLE  NOT NULL
);

CREATE TABLE brackets (
    table_id       VARCHAR NOT NULL,
    venue          VARCHAR NOT NULL,
    symbol         VARCHAR NOT NULL,
    effective_from BIGINT  NOT NULL,
    bracket        INTEGER NOT NULL,
    notional_floor DOUBLE  NOT NULL,
    notional_cap   DOUBLE  NOT NULL,
    mmr            DOUBLE  NOT NULL,
    cum            DOUBLE  NOT NULL,
    max_leverage   DOUBLE  NOT NULL,
    source         VARCHAR NOT NULL
);
