package extract

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/currency"
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

// signs are those that stand for one currency.
var signs = map[rune]string{
	'€': "EUR", '₹': "INR", '₩': "KRW", '₽': "RUB", '₺': "TRY", '₦': "NGN", '₱': "PHP", '฿': "THB", '₫': "VND", '₴': "UAH",
	'₪': "ILS", '₡': "CRC", '₲': "PYG", '₸': "KZT", '₵': "GHS", '₮': "MNT", '₼': "AZN", '₾': "GEL", '֏': "AMD", '៛': "KHR",
}

// compound are signs of several currencies with letters at them, which say which
// one is meant.
var compound = map[string]string{
	"US$": "USD", "U$": "USD", "CA$": "CAD", "C$": "CAD", "CAN$": "CAD", "AU$": "AUD", "A$": "AUD", "NZ$": "NZD", "HK$": "HKD",
	"NT$": "TWD", "S$": "SGD", "SG$": "SGD", "R$": "BRL", "MX$": "MXN", "BZ$": "BZD", "RD$": "DOP", "J$": "JMD", "TT$": "TTD",
	"$U": "UYU", "$b": "BOB", "E£": "EGP", "CN¥": "CNY", "JP¥": "JPY",
}

// words are names that shops write in place of a sign.
var words = map[string]string{
	"zł": "PLN", "Zł": "PLN", "zl": "PLN", "Kč": "CZK", "Ft": "HUF", "Fr": "CHF", "SFr": "CHF", "RM": "MYR", "Rp": "IDR", "TL": "TRY",
	"lei": "RON", "Lei": "RON", "LEI": "RON", "лв": "BGN", "руб": "RUB", "рублей": "RUB", "р": "RUB", "Р": "RUB", "грн": "UAH", "ден": "MKD",
	"euro": "EUR", "Euro": "EUR", "円": "JPY", "元": "CNY", "KSh": "KES", "TSh": "TZS", "USh": "UGX", "Dhs": "AED",
	"KD": "KWD", "BD": "BHD", "JD": "JOD", "DT": "TND", "LD": "LYD", // they have thousandths
}

// shared are signs and names of several currencies. The first one is meant where
// nothing says more; an empty one is never meant.
var shared = map[string][]string{
	"$": {
		"USD", "CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "MXN", "ARS", "CLP", "COP", "UYU", "DOP", "BBD", "BMD", "BND", "BSD", "BZD",
		"FJD", "GYD", "JMD", "KYD", "LRD", "NAD", "SBD", "SRD", "TTD", "XCD",
	},
	"£":  {"GBP", "EGP", "FKP", "GIP", "LBP", "SDG", "SHP", "SYP"},
	"¥":  {"JPY", "CNY"},
	"kr": {"", "SEK", "NOK", "DKK", "ISK"},
	"Kr": {"", "SEK", "NOK", "DKK", "ISK"},
	"Rs": {"", "INR", "PKR", "LKR", "NPR", "MUR", "SCR"},
}

// ParsePrice reads a price as shops write it: "€ 1.299,00", "$1,299.00",
// "12.50 EUR", "1 299,– ", ".50 $".
//
// The currency is that of a sign in text, else of an ISO 4217 code, else it is
// fallback. A sign of several currencies, such as "$", is the one of them that
// text or fallback names; letters at it that say no known one are an error, as
// in "Z$". Letters that are no code, such as SKU or VAT, are none.
//
// Where one kind of separator appears once with three digits behind it, as in
// "1.299", it groups thousands, unless nothing or a 0 stands before it or the
// currency has thousandths, as KWD. Behind a different separator the last one
// parts the fraction. What is finer than hundredths, negative, or can be read in
// two ways is an error. It wraps [ErrPrice] or [ErrCurrency].
func ParsePrice(text, fallback string) (Price, error) {
	number, before, after := splitAmount(text)
	if number == "" {
		return Price{}, fmt.Errorf("%w: no digits", ErrPrice)
	}
	switch tail := strings.TrimSpace(after); {
	case strings.HasSuffix(tail, "-"), strings.HasSuffix(tail, "−"):
		return Price{}, fmt.Errorf("%w: negative", ErrPrice)
	case strings.HasPrefix(tail, "%"):
		return Price{}, fmt.Errorf("%w: a share", ErrPrice)
	}

	// The currency decides how three digits behind a separator are read. A
	// mistake in the amount is told first.
	code, currencyErr := parseCurrency(before+" "+after, fallback)
	cents, err := parseCents(number, thousandths(code))
	if err != nil {
		return Price{}, err
	}
	if currencyErr != nil {
		return Price{}, currencyErr
	}
	return Price{Cents: cents, Currency: code}, nil
}

// splitAmount returns the first run of digits and separators in text, and what
// stands around it. A second run of digits makes the amount doubtful, so both
// are then in the number and it will not parse.
func splitAmount(text string) (number, before, after string) {
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
		return "", text, ""
	}

	// ".50" has no digit before the point; that of "Fr.50" ends a word.
	if first > 0 && isPoint(runes[first-1]) && (first == 1 || !unicode.IsLetter(runes[first-2])) {
		first--
	}
	if first > 0 && strings.ContainsRune("-−–—", runes[first-1]) {
		first--
	}

	before, after = string(runes[:first]), string(runes[last+1:])
	// "1 299,–" and "12,-" are whole amounts.
	for _, tail := range []string{",–", ",-", ",—", ".–", ".-", ".—"} {
		after = strings.TrimPrefix(after, tail)
	}
	return string(runes[first : last+1]), before, after
}

func isPoint(r rune) bool { return r == '.' || r == ',' }

// thousandths reports whether prices in a currency have three decimals.
func thousandths(code string) bool {
	unit, err := currency.ParseISO(code)
	if err != nil {
		return false
	}
	scale, _ := currency.Standard.Rounding(unit)
	return scale == 3
}

// parseCents reads digits and separators. three says that three digits behind
// the only separator are a fraction.
func parseCents(number string, three bool) (int64, error) {
	if strings.ContainsRune("-−–—", []rune(number)[0]) {
		return 0, fmt.Errorf("%w: negative", ErrPrice)
	}

	var groups []string
	var separators []rune
	from := 0
	for i, r := range number {
		width := utf8.RuneLen(r)
		switch {
		case r >= '0' && r <= '9':
			continue
		case r == '’':
			r = '\''
		case unicode.IsSpace(r):
			r = ' '
		case !isPoint(r) && r != '\'':
			return 0, fmt.Errorf("%w: more than one number", ErrPrice)
		}
		separators, groups = append(separators, r), append(groups, number[from:i])
		from = i + width
	}
	groups = append(groups, number[from:])

	fraction := ""
	if n := len(separators); n > 0 && isFraction(groups, separators, three) {
		fraction = groups[n]
		groups, separators = groups[:n], separators[:n-1]
	}
	if err := checkGroups(groups, separators); err != nil {
		return 0, err
	}

	units, err := strconv.ParseInt("0"+strings.Join(groups, ""), 10, 64)
	if err != nil || units > math.MaxInt64/100-1 {
		return 0, fmt.Errorf("%w: amount too large", ErrPrice)
	}
	if strings.Trim(fraction[min(2, len(fraction)):], "0") != "" {
		return 0, fmt.Errorf("%w: finer than hundredths", ErrPrice)
	}

	hundredths, err := strconv.ParseInt((fraction + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: bad decimals", ErrPrice)
	}
	return units*100 + hundredths, nil
}

// isFraction reports whether the last separator parts the fraction from the
// whole, not a group from a group.
func isFraction(groups []string, separators []rune, three bool) bool {
	n := len(separators)
	last := separators[n-1]
	switch {
	case !isPoint(last), slices.Contains(separators[:n-1], last):
		return false // groups alone: "1 299", "1.234.567"
	case n > 1:
		return true // another separator groups: "1,234.50"
	case strings.HasPrefix(groups[0], "0") || groups[0] == "":
		return true // no group begins so: "0,990", ".50"
	}
	return len(groups[1]) != 3 || len(groups[0]) > 3 || three
}

// checkGroups reports digits that are not grouped in threes by one separator.
func checkGroups(groups []string, separators []rune) error {
	bad := fmt.Errorf("%w: digits are not grouped in threes", ErrPrice)
	for i := range separators {
		if separators[i] != separators[0] || len(groups[i+1]) != 3 {
			return bad
		}
	}
	if len(separators) > 0 && (groups[0] == "" || len(groups[0]) > 3 || groups[0][0] == '0') {
		return bad
	}
	return nil
}

// parseCurrency returns the currency that the text around an amount names, or
// fallback.
func parseCurrency(rest, fallback string) (string, error) {
	var n names
	for word := range strings.FieldsFuncSeq(rest, func(r rune) bool { return !unicode.IsLetter(r) && !isSign(r) }) {
		if err := n.read(word); err != nil {
			return "", err
		}
	}

	fallback = strings.TrimSpace(fallback)
	if fallback != "" && !isCode(fallback) {
		code, err := parseFallback(fallback)
		if err != nil && len(n.found) == 0 && n.family == "" && len(n.codes) == 0 {
			return "", err
		}
		fallback = code
	}

	switch {
	case len(slices.Compact(slices.Sorted(slices.Values(n.found)))) > 1:
		return "", fmt.Errorf("%w: %s", ErrCurrency, strings.Join(n.found, " and "))
	case len(n.found) > 0:
		if n.family != "" && !slices.Contains(shared[n.family], n.found[0]) {
			return "", fmt.Errorf("%w: %s and %s", ErrCurrency, n.found[0], n.family)
		}
		return n.found[0], nil
	case n.family != "":
		return n.member(fallback)
	case len(slices.Compact(slices.Sorted(slices.Values(n.codes)))) > 1:
		return "", fmt.Errorf("%w: %s", ErrCurrency, strings.Join(n.codes, " or "))
	case len(n.codes) > 0:
		return n.codes[0], nil
	case fallback != "":
		return fallback, nil
	}
	return "", ErrCurrency
}

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// names are the currencies that a text names.
type names struct {
	found  []string // by signs and words of one currency
	codes  []string // by what may be an ISO 4217 code
	family string   // the sign or word of several
	doubt  bool     // a letter before family, as in "R $ 5", may say which
	last   string   // the word before
}

// read takes one word: letters and signs.
func (n *names) read(word string) error {
	before := n.last
	n.last = word
	i := strings.IndexFunc(word, isSign)
	if i < 0 {
		switch {
		case words[word] != "" && strings.Trim(word, capitals) == "":
			n.codes = append(n.codes, words[word]) // "BD" may be something else, as a code may
		case words[word] != "":
			n.found = append(n.found, words[word])
		case shared[word] != nil:
			n.family = word
		case isCode(word):
			n.codes = append(n.codes, word)
		}
		return nil
	}

	sign := []rune(word[i:])[0]
	letters, after := word[:i], word[i+len(string(sign)):]

	if next := strings.IndexFunc(after, isSign); next >= 0 {
		// Two signs in one word, as "€$": each by itself.
		if err := n.read(word[:len(word)-len(after)]); err != nil {
			return err
		}
		return n.read(after)
	}

	if code, ok := signs[sign]; ok {
		n.found = append(n.found, code)
		return nil
	}
	if shared[string(sign)] == nil {
		return fmt.Errorf("%w: %q", ErrCurrency, string(sign))
	}

	switch code, ok := compound[word]; {
	case ok:
		n.found = append(n.found, code)
	case isCode(letters) && after == "":
		n.found = append(n.found, letters)
	case letters != "" || after != "":
		return fmt.Errorf("%w: %q", ErrCurrency, shorten(word))
	case len(before) > 1 && compound[before+word] != "": // "US $"
		n.found = append(n.found, compound[before+word])
	default:
		n.family, n.doubt = word, compound[before+word] != ""
	}
	return nil
}

// member returns the first of the codes, or fallback, that the sign or word of
// several currencies may stand for, or what it stands for by itself.
func (n *names) member(fallback string) (string, error) {
	for _, code := range append(n.codes, fallback) {
		if code != "" && slices.Contains(shared[n.family], code) {
			return code, nil
		}
	}
	if code := shared[n.family][0]; code != "" && !n.doubt {
		return code, nil
	}
	return "", fmt.Errorf("%w: %q is that of %s", ErrCurrency, n.family, strings.TrimPrefix(strings.Join(shared[n.family], ", "), ", "))
}

// isSign reports whether r is a currency's sign.
func isSign(r rune) bool { return unicode.Is(unicode.Sc, r) }

// parseFallback reads a fallback that is no code: a sign, or one in small
// letters.
func parseFallback(s string) (string, error) {
	if upper := strings.ToUpper(s); isCode(upper) {
		return upper, nil
	}
	if s = strings.TrimSuffix(s, "."); strings.ContainsFunc(s, isSign) || words[s] != "" {
		return parseCurrency(s, "")
	}
	return "", fmt.Errorf("%w: %q", ErrCurrency, shorten(s))
}

// isCode reports whether s is one of ISO 4217's codes of money.
func isCode(s string) bool {
	if len(s) != 3 || s != strings.ToUpper(s) || s == "XXX" || s == "XTS" {
		return false
	}
	_, err := currency.ParseISO(s)
	return err == nil
}
