-- Schema of a liqserver database. Times are BIGINT UNIX nanoseconds: ts_event is the END of a row's period
-- (when it became true), ts_init when it could be known. Columns are NOT NULL so that they fetch as plain
-- arrays; a number the source does not give is NaN. Idempotence comes from the ledger, not from keys.

CREATE TABLE meta (
    schema_version INTEGER NOT NULL,
    created_at     BIGINT  NOT NULL
);

CREATE TABLE symbols (
    symbol_id        INTEGER NOT NULL,
    venue            VARCHAR NOT NULL,
    symbol           VARCHAR NOT NULL,
    tick_size        DOUBLE  NOT NULL,
    tick_size_source VARCHAR NOT NULL,   -- 'exchangeInfo', 'built in', 'inferred from <file>'
    base_bin         DOUBLE  NOT NULL    -- width of a flow bin in quote units, a multiple of tick_size
);

-- What the exchange says of its contracts (exchangeInfo), whether there is data of them or not.
CREATE TABLE instruments (
    venue         VARCHAR NOT NULL,
    symbol        VARCHAR NOT NULL,
    contract_type VARCHAR NOT NULL,      -- PERPETUAL, CURRENT_QUARTER, …
    status        VARCHAR NOT NULL,      -- TRADING, SETTLING, …
    base_asset    VARCHAR NOT NULL,
    quote_asset   VARCHAR NOT NULL,
    tick_size     DOUBLE  NOT NULL,      -- quote units
    step_size     DOUBLE  NOT NULL,      -- base units
    onboard_ts    BIGINT  NOT NULL,      -- first day of trading
    delivery_ts   BIGINT  NOT NULL,      -- far in the future for perpetuals
    loaded_at     BIGINT  NOT NULL
);

-- One row per ingested file. `period` is the length of a row's period (candles, metrics), 0 for single events.
CREATE TABLE ledger (
    file_id      INTEGER NOT NULL,
    symbol_id    INTEGER NOT NULL,
    kind         VARCHAR NOT NULL,       -- archive kind: aggTrades, trades, klines, markPriceKlines, indexPriceKlines,
                                         -- premiumIndexKlines, metrics, fundingRate, bookDepth, liquidationSnapshot
                                         -- (recordings of force orders as well), liquidationTotals
    period       BIGINT  NOT NULL,
    name         VARCHAR NOT NULL,       -- file name without folder
    sha256       VARCHAR NOT NULL,
    bytes        BIGINT  NOT NULL,
    rows         BIGINT  NOT NULL,       -- data rows in the file
    stored_rows  BIGINT  NOT NULL,       -- rows it added to its table
    dropped_rows BIGINT  NOT NULL,       -- rows left out; `notices` says why
    first_id     BIGINT  NOT NULL,       -- trade ids; 0 where there are none
    last_id      BIGINT  NOT NULL,
    ts_start     BIGINT  NOT NULL,       -- start of the first period (trades: of the first trade's minute)
    ts_end       BIGINT  NOT NULL,       -- end of the last period
    notices      VARCHAR NOT NULL,       -- JSON list of sentences
    ingested_at  BIGINT  NOT NULL
);

-- Trade ids that a file brought in, as ranges without gaps: what overlapping files (a month and its days) must not
-- bring in again, and what is missing. aggTrades and trades have ids of their own: the file's kind tells which. Ids
-- whose minutes the other kind had brought in are here as well: they are not missing.
CREATE TABLE trade_ranges (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    first_id  BIGINT  NOT NULL,
    last_id   BIGINT  NOT NULL           -- inclusive
);

-- Trades reduced to minute x price bin x size class. ts_event is the end of the minute; `bin` is
-- floor(price / base_bin). Size classes by notional of the trade: 0 <1k, 1 <10k, 2 <100k, 3 <1M, 4 above.
CREATE TABLE flow (
    symbol_id     INTEGER  NOT NULL,
    file_id       INTEGER  NOT NULL,
    ts_event      BIGINT   NOT NULL,
    ts_init       BIGINT   NOT NULL,
    bin           INTEGER  NOT NULL,
    size_class    UTINYINT NOT NULL,
    buy_qty       DOUBLE   NOT NULL,     -- taker buys, base units
    sell_qty      DOUBLE   NOT NULL,
    buy_notional  DOUBLE   NOT NULL,     -- quote units
    sell_notional DOUBLE   NOT NULL,
    buy_count     INTEGER  NOT NULL,
    sell_count    INTEGER  NOT NULL
);

-- Trades of at least the large-trade threshold, one by one (they are part of flow as well).
CREATE TABLE large_trades (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    ts_event  BIGINT  NOT NULL,          -- time of the trade
    ts_init   BIGINT  NOT NULL,          -- end of its minute: large trades are known with their minute's flow
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
    open_interest       DOUBLE  NOT NULL, -- contracts (base units), always > 0
    open_interest_value DOUBLE  NOT NULL  -- quote units, NaN when not given
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

-- Price of the index behind the mark price.
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

-- Premium of the contract over its index, as a share of the index; may be negative.
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

-- Resting orders between the middle of the book and a distance from it: a negative one is the side of the bids.
CREATE TABLE book_depth (
    symbol_id  INTEGER NOT NULL,
    file_id    INTEGER NOT NULL,
    ts_event   BIGINT  NOT NULL,         -- time of the picture
    ts_init    BIGINT  NOT NULL,
    percentage DOUBLE  NOT NULL,         -- distance, percent
    depth      DOUBLE  NOT NULL,         -- base units
    notional   DOUBLE  NOT NULL          -- quote units
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
    volume           DOUBLE  NOT NULL,   -- base units
    quote_volume     DOUBLE  NOT NULL,   -- NaN when not given
    count            DOUBLE  NOT NULL,   -- NaN when not given
    taker_buy_volume DOUBLE  NOT NULL    -- NaN when not given
);

CREATE TABLE funding (
    symbol_id      INTEGER NOT NULL,
    file_id        INTEGER NOT NULL,
    ts_event       BIGINT  NOT NULL,
    ts_init        BIGINT  NOT NULL,
    rate           DOUBLE  NOT NULL,
    interval_hours DOUBLE  NOT NULL
);

-- Liquidation orders that were recorded, each once: a symbol has no two rows of one time, side, price and quantity.
-- The feed they are from shows at most one order of a symbol in a second: in a cascade they are a lower bound.
CREATE TABLE liquidations (
    symbol_id INTEGER NOT NULL,
    file_id   INTEGER NOT NULL,
    ts_event  BIGINT  NOT NULL,          -- time of the order
    ts_init   BIGINT  NOT NULL,
    side      TINYINT NOT NULL,          -- of the position: +1 a long was liquidated (by a SELL order), -1 a short
    price     DOUBLE  NOT NULL,          -- average of the fills, quote units, always > 0
    qty       DOUBLE  NOT NULL           -- filled, base units, always > 0
);

-- What was liquidated in each period, both sides added up by whoever publishes it, maybe over several venues.
CREATE TABLE liquidation_totals (
    symbol_id      INTEGER NOT NULL,
    file_id        INTEGER NOT NULL,
    period         BIGINT  NOT NULL,
    ts_event       BIGINT  NOT NULL,
    ts_init        BIGINT  NOT NULL,
    long_notional  DOUBLE  NOT NULL,     -- quote units, never negative
    short_notional DOUBLE  NOT NULL
);

-- Parameters of models fitted to recorded liquidations, each from data until a moment and nothing later.
CREATE TABLE calibrations (
    calibration_id VARCHAR NOT NULL,     -- of what it holds: the same found twice is kept once
    symbol_id      INTEGER NOT NULL,
    model          VARCHAR NOT NULL,
    until          BIGINT  NOT NULL,     -- nothing later was used
    data_start     BIGINT  NOT NULL,     -- start of the first interval fitted on
    data_end       BIGINT  NOT NULL,     -- end of the last
    period         BIGINT  NOT NULL,
    intervals      INTEGER NOT NULL,
    truth          VARCHAR NOT NULL,     -- where the liquidations are from
    parameters     VARCHAR NOT NULL,     -- JSON
    fit            VARCHAR NOT NULL,     -- JSON: weights, R², scatter of what was recorded
    uncertainty    VARCHAR NOT NULL,     -- JSON: covariances of log weights
    created        BIGINT  NOT NULL
);

CREATE TABLE brackets (
    table_id       VARCHAR NOT NULL,     -- venue:symbol:date of effect
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
