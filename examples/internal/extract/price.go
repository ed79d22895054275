package extract

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Price is an amount of money. Prices in one currency compare by Cents.
type Price struct {
	// Cents is the amount in hundredths of the currency's unit, for every
	// currency alike: 12.50 EUR is 1250, 800 JPY is 80000. It is never
	// negative.
	Cents int64 `json:"cents"`
	// Currency is the ISO 4217 code, such as EUR.
	Currency string `json:"currency"`
}

// String returns the price with two decimals and its currency: "12.50 EUR".
func (p Price) String() string {
	s := fmt.Sprintf("%d.%02d", p.Cents/100, p.Cents%100)
	if p.Currency == "" {
		return s
	}
	return s + " " + p.Currency
}

// symbols are the signs that shops put beside an amount. "$" alone is read as
// US dollar and "kr" is ambiguous, so it is not here.
var symbols = map[string]string{
	"€": "EUR", "$": "USD", "US$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "₩": "KRW", "₽": "RUB",
	"₺": "TRY", "zł": "PLN", "Kč": "CZK", "Fr.": "CHF", "R$": "BRL", "C$": "CAD", "A$": "AUD",
}

// ParsePrice reads a price as shops write it: "€ 1.299,00", "$1,299.00",
// "12.50 EUR", "1 299,– ". The currency is taken from text, else it is
// fallback. Where one kind of separator appears once with three digits behind
// it, as in "1.299", it groups thousands. The error wraps [ErrPrice] or
// [ErrCurrency].
func ParsePrice(text, fallback string) (Price, error) {
	number, rest := splitAmount(text)
	if number == "" {
		return Price{}, fmt.Errorf("%w: no digits", ErrPrice)
	}
	cents, err := parseCents(number)
	if err != nil {
		return Price{}, err
	}
	currency, err := parseCurrency(rest, fallback)
	if err != nil {
		return Price{}, err
	}
	return Price{Cents: cents, Currency: currency}, nil
}

// splitAmount returns the first run of digits and separators in text, and what
// stands around it. A second run of digits makes the amount doubtful, so both
// are then in the number and it will not parse.
func splitAmount(text string) (number, rest string) {
	runes := []rune(strings.TrimSpace(text))
	first, last := -1, -1
	for i, r := range runes {
		if r >= '0' && r <= '9' {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return "", text
	}
	if first > 0 && (runes[first-1] == '-' || runes[first-1] == '−') {
		first--
	}
	before, after := string(runes[:first]), string(runes[last+1:])
	// "1 299,–" and "12,-" are whole amounts.
	for _, tail := range []string{",–", ",-", ",—", ".–", ".-", ".—"} {
		after = strings.TrimPrefix(after, tail)
	}
	return string(runes[first : last+1]), before + " " + after
}

func parseCents(number string) (int64, error) {
	if strings.HasPrefix(number, "-") || strings.HasPrefix(number, "−") {
		return 0, fmt.Errorf("%w: negative", ErrPrice)
	}
	var whole, fraction strings.Builder
	dec := decimalAt(number)
	group := -1 // digits since the last group separator
	for i, r := range number {
		switch {
		case i == dec:
			if group >= 0 && group != 3 {
				return 0, fmt.Errorf("%w: digits are not grouped in threes", ErrPrice)
			}
			group = -1
		case r >= '0' && r <= '9':
			if dec >= 0 && i > dec {
				fraction.WriteRune(r)
				continue
			}
			whole.WriteRune(r)
			if group >= 0 {
				group++
			}
		case r == '.' || r == ',' || r == '\'' || r == '’' || unicode.IsSpace(r):
			if dec >= 0 && i > dec || group >= 0 && group != 3 || whole.Len() > 3 && group < 0 {
				return 0, fmt.Errorf("%w: digits are not grouped in threes", ErrPrice)
			}
			group = 0
		default:
			return 0, fmt.Errorf("%w: more than one number", ErrPrice)
		}
	}
	if group >= 0 && group != 3 {
		return 0, fmt.Errorf("%w: digits are not grouped in threes", ErrPrice)
	}
	units, err := strconv.ParseInt(whole.String(), 10, 64)
	if err != nil || units > math.MaxInt64/100-1 {
		return 0, fmt.Errorf("%w: amount too large", ErrPrice)
	}
	f := (fraction.String() + "00")[:2]
	cents, err := strconv.ParseInt(f, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: bad decimals", ErrPrice)
	}
	return units*100 + cents, nil
}

// decimalAt returns the byte index of the decimal separator in number, or -1:
// the last dot or comma, if one or two digits follow it.
func decimalAt(number string) int {
	i := strings.LastIndexAny(number, ".,")
	if i < 0 {
		return -1
	}
	if n := len(number) - i - 1; n == 1 || n == 2 {
		return i
	}
	return -1
}

func parseCurrency(rest, fallback string) (string, error) {
	for word := range strings.FieldsFuncSeq(rest, func(r rune) bool { return unicode.IsSpace(r) || r == ':' || r == ',' }) {
		if c, ok := symbols[word]; ok {
			return c, nil
		}
		if isCode(word) {
			return word, nil
		}
	}
	for sign, c := range symbols {
		if len([]rune(sign)) == 1 && sign != "$" && strings.Contains(rest, sign) {
			return c, nil
		}
	}
	if fallback == "" {
		return "", ErrCurrency
	}
	if c, ok := symbols[fallback]; ok {
		return c, nil
	}
	if !isCode(fallback) {
		return "", fmt.Errorf("%w: %q", ErrCurrency, shorten(fallback))
	}
	return fallback, nil
}

func isCode(s string) bool {
	if len(s) != 3 {
		return false
	}
	for i := range 3 {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}
