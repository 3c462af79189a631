-- Hashes of readings and their sums mod 2⁶⁴, as docs/decisions/0030 wants them counted.

CREATE MACRO second_of(t) AS epoch_us(t) // 1000000;
CREATE MACRO wrapped(x) AS (x::UHUGEINT % 18446744073709551616::UHUGEINT)::UBIGINT;
CREATE MACRO word(x) AS CASE WHEN x < 0 THEN (18446744073709551616::HUGEINT + x)::UHUGEINT ELSE x::UHUGEINT END;
CREATE MACRO times(x, y) AS wrapped(x::UHUGEINT * y::UHUGEINT);
CREATE MACRO step_1(x) AS times(xor(x, x >> 30), 13787848793156543929);
CREATE MACRO step_2(x) AS times(xor(x, x >> 27), 10723151780598845931);
CREATE MACRO step_3(x) AS xor(x, x >> 31);
CREATE MACRO mixed(x) AS step_3(step_2(step_1(x)));
CREATE MACRO hashed(a, b, c, d, e, f, g) AS mixed(wrapped(
      times(word(a), 11400714819323198485)::UHUGEINT + times(word(b), 14029467366897019727)
    + times(word(c),  1609587929392839161)           + times(word(d), 15485907386658061715)
    + times(word(e), 11562461410679940143)           + times(word(f), 16646288086500911323)
    + times(word(g), 10285213230658275043)));
CREATE MACRO halves(upper_half, lower_half) AS upper_half::BIGINT * 4294967296 + (lower_half::BIGINT & 4294967295);
CREATE MACRO digest(total) AS  -- Σ mod 2⁶⁴ as signed
    (CASE WHEN wrapped(total) >= 9223372036854775808 THEN wrapped(total)::HUGEINT - 18446744073709551616
          ELSE wrapped(total)::HUGEINT END)::BIGINT;
