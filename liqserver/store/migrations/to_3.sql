-- From version 2: totals of liquidations by period, calibrations.

CREATE TABLE liquidation_totals (
    symbol_id      INTEGER NOT NULL,
    file_id        INTEGER NOT NULL,
    period         BIGINT  NOT NULL,
    ts_event       BIGINT  NOT NULL,
    ts_init        BIGINT  NOT NULL,
    long_notional  DOUBLE  NOT NULL,
    short_notional DOUBLE  NOT NULL
);

CREATE TABLE calibrations (
    calibration_id VARCHAR NOT NULL,
    symbol_id      INTEGER NOT NULL,
    model          VARCHAR NOT NULL,
    until          BIGINT  NOT NULL,
    data_start     BIGINT  NOT NULL,
    data_end       BIGINT  NOT NULL,
    period         BIGINT  NOT NULL,
    intervals      INTEGER NOT NULL,
    truth          VARCHAR NOT NULL,
    parameters     VARCHAR NOT NULL,
    fit            VARCHAR NOT NULL,
    uncertainty    VARCHAR NOT NULL,
    created        BIGINT  NOT NULL
);
