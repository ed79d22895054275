package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// span writes a duration in its two largest units: "850 ms", "12 s",
// "3 min 5 s", "2 h 10 min", "5 d 3 h". The space between number and unit
// breaks no line, here and in the functions below.
func span(d time.Duration) string {
	if d < 0 {
		d = 0
	}

	switch {
	case d < time.Second:
		return fmt.Sprintf("%d\u00a0ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f\u00a0s", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d\u00a0s", int(d.Seconds()))
	case d < time.Hour:
		return twoUnits(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return twoUnits(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	default:
		return twoUnits(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
	}
}

func twoUnits(large int, largeUnit string, small int, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d\u00a0%s", large, largeUnit)
	}
	return fmt.Sprintf("%d\u00a0%s %d\u00a0%s", large, largeUnit, small, smallUnit)
}

// ago writes how long before now t was, to the second.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < time.Second:
		return "now"
	case d < 10*time.Second:
		return fmt.Sprintf("%d\u00a0s ago", int(d.Seconds()))
	case d < time.Hour && d >= time.Minute:
		return fmt.Sprintf("%d\u00a0min ago", int(d.Minutes()))
	case d < 24*time.Hour && d >= time.Hour:
		return fmt.Sprintf("%d\u00a0h ago", int(d.Hours()))
	default:
		return span(d) + " ago"
	}
}

// count writes n with a comma between groups of three digits.
func count[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// size writes a number of bytes in the binary unit that fits.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d\u00a0B", n)
	}
	v := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		v /= 1024
		if v < 1024 {
			return fmt.Sprintf("%.1f\u00a0%s", v, unit)
		}
	}
	return fmt.Sprintf("%.1f\u00a0TiB", v/1024)
}

// money writes an amount with the sign of its currency, or its code where it
// has none that everybody reads the same way.
func money(cents int64, currency string) string {
	sign := ""
	if cents < 0 {
		sign, cents = "−", -cents
	}

	amount := fmt.Sprintf("%s.%02d", count(cents/100), cents%100)
	switch currency {
	case "EUR":
		return sign + "€" + amount
	case "USD":
		return sign + "$" + amount
	case "GBP":
		return sign + "£" + amount
	case "":
		return sign + amount
	default:
		return sign + amount + " " + currency
	}
}

// moment writes t on a time axis that ends about now.
func moment(t, now time.Time) string {
	switch d := now.Sub(t); {
	case d < time.Second:
		return "now"
	case d < 24*time.Hour:
		return t.UTC().Format("15:04:05\u00a0UTC")
	default:
		return t.UTC().Format("2\u00a0Jan\u00a02006")
	}
}

// stamp writes t for the datetime attribute, and clock for a person.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
