package tor_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/scrape/tor"
)

func TestWhere(t *testing.T) {
	t.Parallel()
	const exit = "AAAABBBBCCCCDDDDEEEEFFFF0000111122223333"
	const relay = "250+ns/id/" + exit + "=\r\nr exit qrs dgst 2026-11-01 12:00:00 203.0.113.9 9001 0\r\ns Exit Fast Running\r\n.\r\n250 OK\r\n"
	for name, tc := range map[string]struct {
		exit, relay, country string
		wantAddress, want    string
		err                  error
	}{
		"known":       {exit, relay, "250-ip-to-country/203.0.113.9=de\r\n250 OK\r\n", "203.0.113.9", "de", nil},
		"no country":  {exit, relay, "250-ip-to-country/203.0.113.9=??\r\n250 OK\r\n", "203.0.113.9", "", nil},
		"no table":    {exit, relay, "551 GeoIP data not loaded\r\n", "203.0.113.9", "", nil},
		"no relay":    {exit, "552 Unrecognized key\r\n", "", "", "", tor.ErrCommand},
		"no address":  {exit, "250+ns/id/" + exit + "=\r\nr exit\r\n.\r\n250 OK\r\n", "", "", "", nil},
		"odd address": {exit, strings.ReplaceAll(relay, "203.0.113.9", "x\ty"), "", "", "", nil},
		"no exit":     {"a b", "", "", "", "", tor.ErrCommand},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := startControl(t, &fakeControl{methods: "NULL", on: func(_ net.Conn, line string) (string, bool) {
				switch {
				case strings.HasPrefix(line, "GETINFO ns/id/"+exit):
					return tc.relay, true
				case line == "GETINFO ip-to-country/203.0.113.9":
					return tc.country, true
				}
				return "", false
			}})
			egress, err := tor.Dial(t.Context(), &tor.Options{Control: control.addr, DisableStartCheck: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = egress.Close() }()
			address, country, err := egress.Where(t.Context(), tc.exit)
			if address != tc.wantAddress || country != tc.want || !errors.Is(err, tc.err) || tc.err == nil && err != nil {
				t.Errorf("Where = %q, %q, %v; want %q, %q, %v", address, country, err, tc.wantAddress, tc.want, tc.err)
			}
		})
	}
	bare, err := tor.Dial(t.Context(), &tor.Options{DisableStartCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := bare.Where(t.Context(), exit); !errors.Is(err, tor.ErrNoControl) {
		t.Errorf("without a control port: %v", err)
	}
}
