package house_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// mistakeLine is the form of a mistake in every constructor's error: package,
// operation, field, what is wrong and what to do.
var mistakeLine = regexp.MustCompile(`^[a-z]+: [a-z]+: [A-Z][A-Za-z0-9.\[\]"]*: .+: .+$`)

// TestSameWaits plants one mistake in each block that tries again: all tell it in
// the same words.
func TestSameWaits(t *testing.T) {
	t.Parallel()
	const base, most = time.Hour, time.Second
	for block, construct := range map[string]func(ctx context.Context) error{
		"logging": func(context.Context) error {
			_, err := logging.New(&logging.Options{Ship: logging.ShipperOptions{Retry: logging.Retry{Base: base, Max: most}}})
			return err
		},
		"notify": func(context.Context) error {
			_, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "ops", Notifier: refuser{}, Retry: notify.Retry{Base: base, Max: most}}}})
			return err
		},
		"scrape": func(ctx context.Context) error {
			_, err := scrape.New(ctx, &scrape.Options{Egress: scrape.Direct(), Retry: scrape.Retry{Base: base, Max: most}})
			return err
		},
	} {
		const want = "Retry.Base: 1h0m0s is above Max, 1s: give at most that, or a larger Max"
		if err := construct(t.Context()); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want the end %q", block, err, want)
		}
	}
}

// TestSameMistakes plants three mistakes in each constructor's options: all are
// told at once, each on a line of its own, in one form.
func TestSameMistakes(t *testing.T) {
	t.Parallel()
	for block, construct := range map[string]func(ctx context.Context) error{
		"logging": func(context.Context) error {
			_, err := logging.New(&logging.Options{
				Level: "loud", File: logging.FileOptions{Path: "app.log", MaxFiles: -2}, Console: logging.ConsoleOptions{Format: "txt"},
			})
			return err
		},
		"notify": func(context.Context) error {
			_, err := notify.New(&notify.Options{Receivers: []notify.Receiver{
				{Name: "ops", Notifier: refuser{}, Retry: notify.Retry{Base: time.Hour, Max: time.Second}, Rate: notify.Rate{Burst: -1}, Fallback: "nobody"},
			}})
			return err
		},
		"scrape": func(ctx context.Context) error {
			_, err := scrape.New(ctx, &scrape.Options{
				Egress: scrape.Direct(), Retry: scrape.Retry{Base: time.Hour, Max: time.Second}, HostLimit: scrape.HostLimit{Burst: -1}, Contact: "me",
			})
			return err
		},
		"tor": func(ctx context.Context) error {
			_, err := tor.Dial(ctx, &tor.Options{SOCKS: "nowhere", Control: "no port", DockerHost: "no address"})
			return err
		},
	} {
		err := construct(t.Context())
		if err == nil {
			t.Errorf("%s takes three mistakes", block)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) < 3 {
			wrong(t, block, "%s: %d of 3 mistakes are told: %v", block, len(lines), err)
		}
		for _, line := range lines {
			if !mistakeLine.MatchString(line) {
				wrong(t, block, "%s: the form of a mistake is %q", block, line)
			}
		}
	}
}
