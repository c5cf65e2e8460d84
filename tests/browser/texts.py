"""What people and models say in the screenshots, in both languages at once: the page has to show them side by side."""

QUESTION = "天空为什么是蓝色的？Why is the sky blue?"
SECOND = "那晚霞为什么是红色的？请用八岁孩子听得懂的话解释一下。Please explain it so that a child understands it."
TITLES = (
    "Why is the sky blue?",
    "四个人的晚饭",
    "用 Python 写快速排序，并解释每一步的时间复杂度",
    "Plan",
    "Docker without root: a long title that does not fit",
)
ANSWER = (
    "天空看起来是蓝色的，主要是因为“瑞利散射”。阳光由各种颜色的光组成；穿过大气层时，波长较短的蓝光比波长较长的红光"
    "更容易被空气分子散射到四面八方。\n\nSo wherever you look, a little blue reaches your eye. At sunset "
    "the light travels a longer way: most of the blue is gone, and red (约 620–750 nm) remains."
)
RICH = """## 快速排序

先选一个**基准：**比它小的放前面，比它大的放后面。Pick a *pivot*, put what is smaller before it.

```python
def quicksort(items: list[int]) -> list[int]:
    if len(items) < 2:  # 不用排
        return items
    pivot, *rest = items
    smaller = [item for item in rest if item < pivot]
    return quicksort(smaller) + [pivot] + quicksort([item for item in rest if item >= pivot])
```

| 情况 | comparisons | 何时出现 |
|---|---:|---|
| 最好 | n log n | 基准正好把列表分成两半 |
| 最坏 | n² | it is sorted already |

1. 选 `items[0]`，或者*“随机”*选一个元素。
2. 把其余的分成两组：
   - **较小的（含相等）：**放左边
   - larger ones
- [x] a task that is done
- [ ] 还没做的

> 随机选择可以避免最坏情况。See [the proof](https://example.org/proof)。

### 一段说明

Models like headings, too. 小标题后面通常还有一段话，用来看行距、标点和中英文之间的空隙是否合适。
"""
