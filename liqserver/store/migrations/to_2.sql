-- From version 1: contracts of the exchange, prices of the index and its premium, depth of the book.

CREATE TABLE instruments (
    venue         VARCHAR NOT NULL,
    symbol        VARCHAR NOT NULL,
    contract_type VARCHAR NOT NULL,
    status        VARCHAR NOT NULL,
    base_asset    VARCHAR NOT NULL,
    quote_asset   VARCHAR NOT NULL,
    tick_size     DOUBLE  NOT NULL,
    step_size     DOUBLE  NOT NULL,
    onboard_ts    BIGINT  NOT NULL,
    delivery_ts   BIGINT  NOT NULL,
    loaded_at     BIGINT  NOT NULL
);

CREATE TABLE index_price (
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

CREATE TABLE premium_index (
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

CREATE TABLE book_depth (
    symbol_id  INTEGER NOT NULL,
    file_id    INTEGER NOT NULL,
    ts_event   BIGINT  NOT NULL,
    ts_init    BIGINT  NOT NULL,
    percentage DOUBLE  NOT NULL,
    depth      DOUBLE  NOT NULL,
    notional   DOUBLE  NOT NULL
);
