// Package demo is the world around the showcase when it is tried out
// without network and accounts: a shop to scrape, and receivers for its log,
// its mail and its Slack messages.
//
//	world, err := demo.Start(ctx, nil)
//	defer world.Close()
//	fmt.Println(world.Shop.URL(), world.Logs.URL(), world.Mail.Addr(), world.Slack.URL())
//
// Each part listens on a loopback port that the kernel picks and speaks the
// protocol of what it stands for: HTTP with robots.txt, JSON lines in bulk
// with gzip, SMTP, Slack's incoming webhooks with their limits. None of them
// sends anything on. What they keep is bounded, oldest out first, so that they
// can run for weeks.
//
// The shop's prices are a function of the time since its start, the same in
// every run: the first price changes after one [ShopOptions].Step, the first
// item disappears after two.
//
// The parts have no access control: everybody on this machine can reach them.
// They are for trying out and for tests.
package demo
