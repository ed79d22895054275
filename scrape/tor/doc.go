// Package tor is the egress of package scrape through a Tor process: one that
// runs already, one in a Docker container, or one of its own.
//
//	t, err := tor.Dial(ctx, &tor.Options{SOCKS: "127.0.0.1:9050", Control: "127.0.0.1:9051", Password: password})
//	if err != nil {
//		return err // not reached, credentials refused, or not bootstrapped yet
//	}
//	defer t.Close()
//	c, err := scrape.New(ctx, &scrape.Options{Egress: t})
//
// [Dial] is for a Tor that runs, Options.Container finds it by its Docker name,
// [Start] runs one. With Options.DisableStartCheck contact is made only when it
// is used: for a service that has to come up before Tor does.
//
// A SOCKS port is enough to fetch pages and to rotate identities. A control
// port adds what only Tor knows: [Tor.Status], the exit of an identity
// ([Tor.Exit], and with it scrape.Rotation.Distinct), where that is ([Tor.Where]),
// and [Tor.NewIdentity]. It
// is spoken to by cookie or password, whichever works, with a deadline on
// everything.
//
// Errors that mean that Tor cannot be used match scrape.ErrEgressUnavailable.
package tor
