package tor_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

func ExampleDial() {
	_, err := tor.Dial(context.Background(), &tor.Options{SOCKS: "127.0.0.1:1"})
	fmt.Println(errors.Is(err, scrape.ErrEgressUnavailable))
	// Output: true
}

// A service that must come up before Tor does looks for it later, and lets
// requests fail until Tor is there.
func ExampleTor() {
	var t *tor.Tor
	t, err := tor.Dial(context.Background(), &tor.Options{DisableStartCheck: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	c, err := scrape.New(context.Background(), &scrape.Options{Egress: t, DisableStartCheck: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Println(c.Stats().Egress.Name)
	// Output: Tor at 127.0.0.1:9050
}

func ExampleStatus() {
	t, err := tor.Dial(context.Background(), &tor.Options{DisableStartCheck: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	var s tor.Status
	s, err = t.Status(context.Background())
	fmt.Println(s.Bootstrap, errors.Is(err, tor.ErrNoControl))
	// Output: 0 true
}

func ExampleOptions() {
	_, err := tor.Dial(context.Background(), &tor.Options{Container: "-x", SOCKS: "nonsense", ExitCountries: []string{"Germany"}})
	fmt.Println(err)
	// Output:
	// tor: new: Container: "-x" is no name and no id: write letters, digits, _, . and - only
	// tor: new: SOCKS: "nonsense" is no address: write host:port, as 127.0.0.1:9050, or unix:/path
	// tor: new: ExitCountries[0]: "Germany" is no country: write two letters, as de
}
