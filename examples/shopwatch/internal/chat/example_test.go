package chat_test

import (
	"fmt"

	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/chat"
	"github.com/svcblocks/svcblocks/notify"
)

func ExampleTelegram_New() {
	bot, err := chat.Telegram{Token: secret.New("110201543:token"), Chat: 42}.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = bot.Close() }()
	hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "telegram", Notifier: bot}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	fmt.Println(hub.Stats().Receivers[0].Name)
	// Output: telegram
}
