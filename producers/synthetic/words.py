"""The topics that people have tastes for, and the words of which documents about them are made."""

from __future__ import annotations

TOPICS: dict[str, tuple[str, ...]] = {
    "garden": ("spade", "hose", "seed", "rose", "lawn", "compost", "trellis", "pot", "shears", "greenhouse"),
    "kitchen": ("pan", "knife", "kettle", "oven", "whisk", "bowl", "grater", "apron", "mixer", "ladle"),
    "running": ("shoe", "sock", "marathon", "trail", "lace", "stopwatch", "vest", "sprint", "sole", "jogger"),
    "cycling": ("bicycle", "saddle", "pedal", "helmet", "chain", "tyre", "brake", "handlebar", "pump", "spoke"),
    "music": ("guitar", "violin", "drum", "record", "piano", "string", "speaker", "songbook", "flute", "tuner"),
    "crime": ("detective", "murder", "mystery", "clue", "inspector", "thriller", "suspect", "alibi", "noir", "heist"),
    "space": ("planet", "rocket", "galaxy", "astronaut", "telescope", "orbit", "comet", "moon", "starship", "nebula"),
    "history": ("empire", "castle", "king", "war", "medieval", "archive", "treaty", "roman", "dynasty", "relic"),
    "baby": ("cradle", "bottle", "pram", "blanket", "rattle", "bib", "nappy", "toy", "lullaby", "teddy"),
    "dogs": ("leash", "puppy", "collar", "kennel", "bone", "terrier", "bowl", "treat", "whistle", "brush"),
    "coffee": ("espresso", "bean", "roast", "filter", "grinder", "cup", "latte", "crema", "barista", "arabica"),
    "camping": ("tent", "lantern", "rucksack", "stove", "sleeping-bag", "rope", "compass", "campfire", "axe", "flask"),
    "fishing": ("rod", "reel", "lure", "hook", "trout", "net", "float", "waders", "bait", "river"),
    "painting": ("brush", "canvas", "easel", "oil", "palette", "watercolour", "varnish", "sketch", "portrait", "frame"),
    "photography": ("camera", "lens", "tripod", "film", "flash", "album", "darkroom", "filter", "shutter", "zoom"),
    "computers": ("keyboard", "monitor", "laptop", "mouse", "cable", "memory", "printer", "router", "screen", "charger"),
    "winter": ("ski", "glove", "scarf", "sled", "boot", "goggles", "snow", "parka", "mitten", "thermos"),
    "beach": ("towel", "sandal", "parasol", "surfboard", "snorkel", "swimsuit", "sunhat", "shell", "kayak", "dinghy"),
    "baking": ("flour", "yeast", "tin", "rolling-pin", "cake", "bread", "icing", "sieve", "pastry", "cookie"),
    "chess": ("board", "queen", "rook", "opening", "endgame", "clock", "gambit", "pawn", "bishop", "puzzle"),
    "yoga": ("mat", "block", "strap", "bolster", "breath", "cushion", "stretch", "balance", "incense", "leggings"),
    "cars": ("engine", "wiper", "jack", "battery", "wax", "seat", "filter", "spanner", "headlamp", "bumper"),
    "birds": ("feeder", "nest", "binoculars", "owl", "seed-mix", "finch", "field-guide", "perch", "heron", "birdbath"),
    "theatre": ("stage", "costume", "script", "mask", "comedy", "tragedy", "curtain", "actor", "playbook", "spotlight"),
}
"""Ten words each. A catalogue has the first topics; all where it is large enough."""

QUALITIES = ("small", "classic", "modern", "light", "sturdy", "quiet", "bright", "rare", "simple", "fine", "blue", "green")
FILLERS = ("for", "with", "and", "made", "of", "every", "day", "new", "by", "hand")
PROVIDERS = 50
