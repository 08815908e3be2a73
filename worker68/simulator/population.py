"""Who lives in the world: the people and groups that the documented frames name, and made-up ones around them.

In: a seed and sizes. Out: the same ``World`` every time for the same arguments. Never: names of real people; those that are not
in the documented frames are put together from lists.
"""

from __future__ import annotations

import random
from typing import Final

from worker68.simulator.world import LARGEST_PAGE, Group, GroupRequest, JoinRequest, Member, Notice, Person, Role, World

ACCOUNT: Final = 4_008_697
FRIEND: Final = 7_237_423
OTHER_FRIEND: Final = 5_858_052
STRANGER: Final = 5_138_518

#: The account is a manager here, may not be muted, and the notice is "asdd".
MANAGED_GROUP: Final = 389_284
#: The account is the host here; 7128348 is the documented member to mute.
OWNED_GROUP: Final = 441_298
#: The account is a plain member here: it changes nothing, and a mute of the group silences it. Not in the documented frames.
PLAIN_GROUP: Final = 520_117

MUTABLE_MEMBER: Final = 7_128_348

#: The newest of the requests to be let into the owned group.
OPEN_REQUEST: Final = 90_017

_SURNAMES: Final = "王李张刘陈杨黄赵周吴徐孙马朱胡林郭何高罗"
# fmt: off
_GIVEN: Final = (
    "伟", "芳", "娜", "秀英", "敏", "静", "丽", "强", "磊", "洋", "艳", "勇", "杰", "娟", "涛", "明", "超", "霞", "平", "刚",
)
_NICKNAMES: Final = (
    "八方来财", "一帆风顺", "花开富贵", "小鱼儿", "夜雨", "老司机", "沉默是金", "阳光", "随缘", "Lucky",
)
# fmt: on
_EMOJI: Final = ("", "", "", "🌽", "🐟", "🌸", "🍀", "💰", "🔥", "👨‍👩‍👧", "🇨🇳", "☀️")
_GROUP_NAMES: Final = ("收货交流群", "华南同城", "周末羽毛球🏸", "老客户VIP", "新手答疑", "福利社🎁", "产品通知")
_LETTERS_AND_DIGITS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_BIRTH_MS: Final = 1_746_527_494_000
_ICON: Final = "http://r11.aiolet.xyz/common/pic/{}.jpg"


def build_world(
    *, seed: int = 68, contacts: int = 36, groups: int = 3, members: int = 12, page_size: int = LARGEST_PAGE
) -> World:
    """Build the world: ``contacts`` friends (at least 2), ``groups`` (at least 3), ``members`` (at least 2) in each
    group that is not documented. Nothing is paged out in more than ``page_size`` at a time.
    """
    dice = random.Random(seed)
    people = {person.uid: person for person in _documented_people(dice)}
    friends = _meet(dice, max(0, contacts - 2), people)
    friend_ids = dict.fromkeys([OTHER_FRIEND, FRIEND, *friends])
    built = [_managed_group(), _owned_group(dice)]
    for number in range(max(1, groups - 2)):
        group_id = PLAIN_GROUP if number == 0 else PLAIN_GROUP + 1000 + number
        others = _meet(dice, max(0, members - 2), people)
        built.append(_made_up_group(dice, group_id, number, others))
    applicants = _meet(dice, 2, people)
    return World(
        account=ACCOUNT,
        people=people,
        contacts=friend_ids,
        groups={group.group_id: group for group in built},
        friend_requests=[JoinRequest(STRANGER, "验证：我是八方来财4", 1_759_928_661_000)],
        group_requests=[_request(OPEN_REQUEST - place, uid) for place, uid in enumerate(applicants)],
        page_size=page_size,
        dice=dice,
    )


def _request(request_id: int, uid: int) -> GroupRequest:
    asked_ms = 1_766_200_000_000 + uid
    return GroupRequest(request_id, OWNED_GROUP, uid, uid, "我想加入", asked_ms, asked_ms)


def meet_stranger(world: World) -> int:
    """Make a new person whom the service knows, and return the uid."""
    (uid,) = _meet(world.dice, 1, world.people)
    return uid


def _documented_people(dice: random.Random) -> list[Person]:
    pictures = {
        ACCOUNT: _ICON.format("202507/27/44eff667aad9eaa434a0af55d9cd4048"),
        FRIEND: _ICON.format("202509/06/d55d17285d3a7290c7dc953b25465722"),
        STRANGER: _ICON.format("202509/07/a77c66e78a2c23d817e5ab00ca326baf"),
    }
    known = [
        Person(ACCOUNT, "ID采集机器人🤖", "k7m5tzmya2", 1_746_527_494_000, 1_766_280_644_006, letter="I", online=True),
        Person(FRIEND, "Pwgen", "02lx0l99q6", 1_746_529_904_000, 1_766_242_839_299, letter="P"),
        Person(OTHER_FRIEND, "12🌽34🌽收cu商", "b6jo6y4p8h", 1_749_000_000_000, 1_765_734_028_244),
        Person(STRANGER, "八方来财4", "am6gqf58go", 1_757_214_075_000, 1_759_928_661_000),
        Person(4_017_572, _name(dice), _identify(dice), 1_747_000_000_000, 1_761_010_560_062),
        Person(MUTABLE_MEMBER, _name(dice), _identify(dice), 1_751_000_000_000, 1_766_141_350_379),
    ]
    for person in known:
        person.icon = pictures.get(person.uid, "")
    return known


def _meet(dice: random.Random, count: int, people: dict[int, Person]) -> list[int]:
    """Make ``count`` new people and add them to ``people``."""
    met: list[int] = []
    while len(met) < count:
        uid = dice.randrange(1_000_000, 10_000_000)
        if uid in people:
            continue
        name = _name(dice)
        letter = name[0].upper() if name[0].isascii() else "#"
        created = _BIRTH_MS + dice.randrange(20_000_000_000)
        seen = 1_766_000_000_000 + dice.randrange(280_000_000)
        people[uid] = Person(uid, name, _identify(dice), created, seen, letter=letter, online=dice.random() < 0.4)
        met.append(uid)
    return met


def _name(dice: random.Random) -> str:
    if dice.random() < 0.3:
        return dice.choice(_NICKNAMES) + str(dice.randrange(100)) + dice.choice(_EMOJI)
    return dice.choice(_SURNAMES) + dice.choice(_GIVEN) + dice.choice(_EMOJI)


def _identify(dice: random.Random) -> str:
    return "".join(dice.choices(_LETTERS_AND_DIGITS, k=10))


def _managed_group() -> Group:
    roles = {FRIEND: Role.HOST, ACCOUNT: Role.MANAGE, 4_017_572: Role.MEMBER, MUTABLE_MEMBER: Role.MEMBER}
    return Group(
        MANAGED_GROUP,
        "huimei",
        "k7d2dng8q8",
        created_ms=1_753_495_200_000,
        members={uid: Member(uid, role) for uid, role in roles.items()},
        notice=Notice(1_043_631, "asdd", editor=FRIEND, released_ms=1_766_201_544_598),
    )


def _owned_group(dice: random.Random) -> Group:
    roles = {ACCOUNT: Role.HOST, OTHER_FRIEND: Role.MANAGE, MUTABLE_MEMBER: Role.MEMBER}
    members = {uid: Member(uid, role) for uid, role in roles.items()}
    return Group(OWNED_GROUP, "测试群🤖", _identify(dice), created_ms=1_754_000_000_000, members=members)


def _made_up_group(dice: random.Random, group_id: int, number: int, others: list[int]) -> Group:
    host, *rest = [OTHER_FRIEND, *others]
    members = {host: Member(host, Role.HOST), ACCOUNT: Member(ACCOUNT, Role.MEMBER)}
    for position, uid in enumerate(rest):
        role = Role.MANAGE if position == 0 else Role.MEMBER
        members[uid] = Member(uid, role, score=807_415_200_000 + position)
    name = _GROUP_NAMES[number % len(_GROUP_NAMES)] + (str(number) if number >= len(_GROUP_NAMES) else "")
    return Group(group_id, name, _identify(dice), created_ms=_BIRTH_MS + group_id * 1000, members=members)
