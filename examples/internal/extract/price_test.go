package extract_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

func TestParsePrice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, fallback string
		want           string
		err            error
	}{
		{text: "12.50 EUR", want: "12.50 EUR"},
		{text: "€12.50", want: "12.50 EUR"},
		{text: "€ 1.299,00", want: "1299.00 EUR"},
		{text: "1.299,5 €", want: "1299.50 EUR"},
		{text: "$1,299.00", want: "1299.00 USD"},
		{text: "$1,299", want: "1299.00 USD"},
		{text: "1.299", fallback: "EUR", want: "1299.00 EUR"},
		{text: "1 299,– €", want: "1299.00 EUR"},
		{text: "1\u00a0299\u00a0€", want: "1299.00 EUR"},
		{text: "CHF 1'299.95", want: "1299.95 CHF"},
		{text: "1’299.95", fallback: "CHF", want: "1299.95 CHF"},
		{text: "1,234,567.89 USD", want: "1234567.89 USD"},
		{text: "  19.99\n", fallback: "GBP", want: "19.99 GBP"},
		{text: "¥800", want: "800.00 JPY"},
		{text: "12 zł", want: "12.00 PLN"},
		{text: "0.05", fallback: "€", want: "0.05 EUR"},
		{text: "Price: 5 EUR incl. VAT", want: "5.00 EUR"},
		{text: "1299.00", fallback: "EUR", want: "1299.00 EUR"},
		{text: ".50 $", want: "0.50 USD"},
		{text: ",50 €", want: "0.50 EUR"},
		{text: "$.5", want: "0.50 USD"},
		{text: "Fr.50", want: "50.00 CHF"},
		{text: "0,990 €", want: "0.99 EUR"},
		{text: "12,500 KWD", want: "12.50 KWD"},
		{text: "1,234.560 BHD", want: "1234.56 BHD"},
		{text: "1,234,567.890", fallback: "EUR", want: "1234567.89 EUR"},
		{text: "1.299,000 €", want: "1299.00 EUR"},
		{text: "TTC 12.50 €", want: "12.50 EUR"},
		{text: "VAT 12.50 €", want: "12.50 EUR"},
		{text: "NEW 12.50", fallback: "GBP", want: "12.50 GBP"},
		{text: "ALL ITEMS 12.50 €", want: "12.50 EUR"},
		{text: "$12.50 CAD", want: "12.50 CAD"},
		{text: "CA$12", want: "12.00 CAD"},
		{text: "NT$800", want: "800.00 TWD"},
		{text: "HK$8", want: "8.00 HKD"},
		{text: "US$12.50", want: "12.50 USD"},
		{text: "$12.50", fallback: "AUD", want: "12.50 AUD"},
		{text: "¥800", fallback: "CNY", want: "800.00 CNY"},
		{text: "$12.50", fallback: "EUR", want: "12.50 USD"},
		{text: "AU $ 5", want: "5.00 AUD"},
		{text: "US $ 5", want: "5.00 USD"},
		{text: "SGD$4.90", want: "4.90 SGD"},
		{text: "1 MOP$", want: "1.00 MOP"},
		{text: "5 $U", want: "5.00 UYU"},
		{text: "5 $b", want: "5.00 BOB"},
		{text: "E£ 5", want: "5.00 EGP"},
		{text: "CN¥ 5", want: "5.00 CNY"},
		{text: "R $ 5", fallback: "CAD", want: "5.00 CAD"},
		{text: "SIZE $ 5", want: "5.00 USD"},
		{text: "423.92 KD", want: "423.92 KWD"},
		{text: "1.500 KD", fallback: "EUR", want: "1.50 KWD"},
		{text: "BD 12,50 €", want: "12.50 EUR"},
		{text: "6 300 Р", want: "6300.00 RUB"},
		{text: "69,50", fallback: "TL", want: "69.50 TRY"},
		{text: "950", fallback: "грн.", want: "950.00 UAH"},
		{text: "R $ 5", err: extract.ErrCurrency},
		{text: "Z$ 5", err: extract.ErrCurrency},
		{text: "5 $x", err: extract.ErrCurrency},
		{text: "L£ 5", err: extract.ErrCurrency},
		{text: "€$ 5", err: extract.ErrCurrency},
		{text: "12 kr", fallback: "SEK", want: "12.00 SEK"},
		{text: "12.50", fallback: "eur", want: "12.50 EUR"},
		{text: "12,50 Ft", want: "12.50 HUF"},
		{text: "12.50EUR", want: "12.50 EUR"},
		{text: "USD12.50", want: "12.50 USD"},
		{text: "12 €/kg", want: "12.00 EUR"},
		{text: "12 kr", err: extract.ErrCurrency},
		{text: "12 kr", fallback: "EUR", err: extract.ErrCurrency},
		{text: "SKU 12.50", err: extract.ErrCurrency},
		{text: "XX$8", err: extract.ErrCurrency},
		{text: "€ 8 £", err: extract.ErrCurrency},
		{text: "$ 8 US$", want: "8.00 USD"},
		{text: "€ 8 ₹", err: extract.ErrCurrency},
		{text: "8 EUR USD", err: extract.ErrCurrency},
		{text: "₿ 8", fallback: "EUR", err: extract.ErrCurrency},
		{text: "0,999 €", err: extract.ErrPrice},
		{text: "1.234 BHD", err: extract.ErrPrice},
		{text: "012,345 €", err: extract.ErrPrice},
		{text: "1,234.567 €", err: extract.ErrPrice},
		{text: "1 234.567,00 €", err: extract.ErrPrice},
		{text: "1..5 €", err: extract.ErrPrice},
		{text: "5.00 €-", err: extract.ErrPrice},
		{text: "-.50 €", err: extract.ErrPrice},
		{text: "40% OFF", fallback: "EUR", err: extract.ErrPrice},
		{text: "12€50", err: extract.ErrPrice},
		{text: "", err: extract.ErrPrice},
		{text: "call us", err: extract.ErrPrice},
		{text: "-5.00 EUR", err: extract.ErrPrice},
		{text: "−5.00 EUR", err: extract.ErrPrice},
		{text: "12.50 – 14.00 EUR", err: extract.ErrPrice},
		{text: "12,34,56 EUR", err: extract.ErrPrice},
		{text: "1.2999 EUR", err: extract.ErrPrice},
		{text: "1234.567 EUR", err: extract.ErrPrice},
		{text: "1.23.456 EUR", err: extract.ErrPrice},
		{text: "99999999999999999999 EUR", err: extract.ErrPrice},
		{text: "92233720368547758.07 EUR", err: extract.ErrPrice},
		{text: "12.50", err: extract.ErrCurrency},
		{text: "12.50", fallback: "euros", err: extract.ErrCurrency},
	} {
		t.Run(tt.text+"/"+tt.fallback, func(t *testing.T) {
			t.Parallel()
			got, err := extract.ParsePrice(tt.text, tt.fallback)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if err == nil && got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func FuzzParsePrice(f *testing.F) {
	for _, s := range []string{"12.50 EUR", "€ 1.299,00", "1 299,–", "-5", "1’299.95", "R$ 5,0", "\xff9"} {
		f.Add(s, "EUR")
	}
	f.Fuzz(func(t *testing.T, text, fallback string) {
		p, err := extract.ParsePrice(text, fallback)
		if err != nil {
			if !errors.Is(err, extract.ErrPrice) && !errors.Is(err, extract.ErrCurrency) {
				t.Fatalf("ParsePrice(%q, %q): untyped error %v", text, fallback, err)
			}
			return
		}
		if p.Cents < 0 || len(p.Currency) != 3 {
			t.Fatalf("ParsePrice(%q, %q) = %+v", text, fallback, p)
		}
		back, err := extract.ParsePrice(p.String(), "")
		if err != nil || back != p {
			t.Fatalf("ParsePrice(%q) = %v, %v; want %v again", p.String(), back, err, p)
		}
	})
}

// A page is a stranger's: what is read of it costs memory in proportion to it.
func TestLongPrice(t *testing.T) {
	for _, text := range []string{strings.Repeat("1", 1<<15), strings.Repeat("1.", 1<<15), strings.Repeat("x", 1<<15) + "1", "1" + strings.Repeat("’", 1<<15)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := extract.ParsePrice(text, "EUR")
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 100*uint64(len(text)) {
			t.Errorf("%.4s…: %d bytes took %d (%.100v)", text, len(text), grown, err)
		}
	}
}
